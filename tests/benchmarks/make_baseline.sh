#!/bin/sh
# Make the peer that reading a plate is timed beside: YOLO11n, 640 × 640, int8, as a .tflite file.
#
#   sh tests/benchmarks/make_baseline.sh FOLDER        makes FOLDER/yolo11n.tflite; 3 GB and some minutes
#   WELLREAD_YOLO11N=FOLDER/yolo11n.tflite make bench
#
# Ultralytics is AGPL-3.0: it lives in an environment of its own in FOLDER, nothing of Wellread imports it and no
# requirements file names it. The weights are untrained and the calibration pictures noise: the time is the same.
set -eu

folder=${1:?expected a folder to make the baseline in}
mkdir -p "$folder/pictures"
cd "$folder"

[ -d env ] || "${PYTHON:-python3}" -m venv env
env/bin/python -m pip install --quiet \
    torch==2.13.0 torchvision==0.28.0 ultralytics==8.4.190 litert-torch==0.10.0 ai-edge-quantizer==0.10.0

# Settings stay in the folder too, and nothing is downloaded.
YOLO_CONFIG_DIR=$PWD YOLO_OFFLINE=true YOLO_AUTOINSTALL=false env/bin/python - <<'PY'
import shutil
from pathlib import Path

import cv2
import numpy as np
from ultralytics import YOLO

rng = np.random.default_rng(0)
for number in range(8):
    cv2.imwrite(f"pictures/{number}.jpg", rng.integers(0, 256, (640, 640, 3), np.uint8))
Path("noise.yaml").write_text(f"path: {Path.cwd()}\ntrain: pictures\nval: pictures\nnames: {{0: noise}}\n")
made = Path(YOLO("yolo11n.yaml").export(format="litert", quantize=8, imgsz=640, data="noise.yaml"))
network = made if made.is_file() else next(made.rglob("*int8*.tflite"))
shutil.copy(network, "yolo11n.tflite")
PY
echo "$PWD/yolo11n.tflite"
