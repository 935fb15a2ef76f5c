// What the pages do beyond being read: local times, wells by keyboard and pointer, runs that appear by themselves.
// Every page works without this file.
"use strict";

const $ = (selector, root = document) => root.querySelector(selector);
const $$ = (selector, root = document) => Array.from(root.querySelectorAll(selector));

function showLocalTimes(root) {
  for (const time of $$("time[datetime]", root)) {
    time.title = new Date(time.dateTime).toLocaleString([], { dateStyle: "full", timeStyle: "long" });
  }
}

// ---- one run: the plate map and the picture point at each other's wells

function connectWells(plate) {
  const detail = $("#well-detail");
  const drawn = new Map($$(".wells [data-well]").map((circle) => [circle.dataset.well, circle]));
  const cells = new Map($$("td[data-well]", plate).map((cell) => [cell.dataset.well, cell]));
  const table = $$("tbody tr", plate).map((row) => $$("td[data-well]", row));

  function point(name) {
    $$(".pointed").forEach((element) => element.classList.remove("pointed"));
    const cell = cells.get(name);
    if (!cell) return;
    cell.classList.add("pointed");
    drawn.get(name)?.classList.add("pointed");
    detail.textContent = cell.getAttribute("aria-label");
  }

  function moveTo(row, column) {
    const cell = table[Math.max(0, Math.min(row, table.length - 1))].at(Math.max(0, Math.min(column, table[0].length - 1)));
    $$('td[tabindex="0"]', plate).forEach((other) => (other.tabIndex = -1));
    cell.tabIndex = 0;
    cell.focus();
  }

  plate.addEventListener("keydown", (event) => {
    const cell = event.target.closest("td[data-well]");
    if (!cell) return;
    const row = table.findIndex((cellsOfRow) => cellsOfRow.includes(cell));
    const column = table[row].indexOf(cell);
    const last = table[0].length - 1;
    const steps = {
      ArrowLeft: [row, column - 1], ArrowRight: [row, column + 1], ArrowUp: [row - 1, column], ArrowDown: [row + 1, column],
      Home: [event.ctrlKey ? 0 : row, 0], End: [event.ctrlKey ? table.length - 1 : row, last],
    };
    if (!steps[event.key]) return;
    event.preventDefault();
    moveTo(...steps[event.key]);
  });
  for (const kind of ["focusin", "mouseover"]) {
    document.addEventListener(kind, (event) => {
      const well = event.target.closest?.("td[data-well], circle[data-well]");
      if (well) point(well.dataset.well);
    });
  }
  $("#rings")?.addEventListener("change", (event) => $(".wells").classList.toggle("off", !event.target.checked));
}

// ---- review: n and p to the next and the previous run, a accepts; Enter on a well chooses it

function listenForKeys() {
  addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.altKey || event.metaKey || event.target.closest("input, select, textarea")) return;
    if (event.key === "Enter") event.target.closest("td[data-well]")?.querySelector("a.pick")?.click();
    else $(`[data-key="${CSS.escape(event.key)}"]`)?.click();
  });
}

// ---- the list of runs: told by server-sent events, or asking every few seconds where those do not come through

function keepFresh(sign) {
  const POLL_MS = 5000;
  const PATIENCE_MS = 8000;
  let busy = false;
  let again = false;
  let polling = null;

  function say(text, state) {
    sign.className = `live ${state}`;
    $("#live-text").textContent = text;
  }

  async function refresh() {
    if (busy) { again = true; return; }
    busy = true;
    do {
      again = false;
      try {
        const answer = await fetch(location.href, { headers: { accept: "text/html" } });
        if (answer.redirected) { location.reload(); return; }
        if (answer.ok) show(new DOMParser().parseFromString(await answer.text(), "text/html"));
      } catch { say("central does not answer", ""); }
    } while (again);
    busy = false;
  }

  function show(page) {
    const known = new Set($$("tr[data-run]").map((row) => row.dataset.run));
    const runs = $("#runs", page);
    for (const row of $$("tr[data-run]", runs)) if (!known.has(row.dataset.run)) row.classList.add("fresh");
    showLocalTimes(runs);
    const focused = document.activeElement?.closest?.("tr[data-run]")?.dataset.run;
    $("#runs").replaceWith(document.adoptNode(runs));
    if (focused) $(`tr[data-run="${CSS.escape(focused)}"] a.open`)?.focus();
  }

  function poll() {
    if (polling) return;
    say("checking every 5 s", "polling");
    polling = setInterval(refresh, POLL_MS);
  }

  function stopPolling() {
    clearInterval(polling);
    polling = null;
    say("live", "on");
  }

  const events = new EventSource("/api/v1/events");
  const patience = setTimeout(poll, PATIENCE_MS);
  events.addEventListener("open", () => { clearTimeout(patience); stopPolling(); refresh(); });
  events.addEventListener("run", refresh);
  events.addEventListener("error", () => { if (events.readyState === EventSource.CLOSED) poll(); else say("reconnecting …", "polling"); });
  addEventListener("pagehide", () => events.close());
}

showLocalTimes(document);
if ($("#plate")) connectWells($("#plate"));
listenForKeys();
if ($("#live")) keepFresh($("#live"));
