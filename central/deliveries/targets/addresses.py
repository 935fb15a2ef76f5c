"""Which addresses may be spoken to: those in the internet, and those inside that the settings list.

A name is looked up once and every address that it has is checked; who connects does so to the one that was checked,
so that a name which changes its address meanwhile (rebinding) leads nobody to machines that only we can reach.
"""

import ipaddress
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

from central.deliveries.targets.target import TargetError

Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address
Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network
Resolve: TypeAlias = Callable[[str, int], Sequence[str]]

_NAT64: Final = ipaddress.ip_network("64:ff9b::/96")


def resolve(host: str, port: int) -> list[str]:
    """Every address of a name, as the system's resolver has them."""
    return [str(found[4][0]) for found in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]


@dataclass(frozen=True, slots=True)
class Reach:
    """What may be reached: the networks inside that are listed, and the internet."""

    inside: tuple[Network, ...] = ()
    resolve: Resolve = resolve

    def addresses(self, host: str, port: int) -> list[str]:
        """Every address of a host, all of them checked; TargetError where one may not be, or there is none."""
        try:
            found = list(self.resolve(host, port))
        except (OSError, ValueError) as error:
            raise TargetError(f"{host!r} has no address: {error}", "check the name; it is tried again") from error
        if not found:
            raise TargetError(f"{host!r} has no address", "check the name; it is tried again")
        for text in found:
            if not self.lists(text) and not _is_public(_address(text)):
                detail = f"{host!r} is {_address(text)}, which is inside (expected an address in the internet)"
                advice = "list its network in WELLREAD_DELIVERY_NETWORKS if it may be called"
                raise TargetError(detail, advice, final=True)
        return found

    def lists(self, text: str) -> bool:
        """Whether the settings list this address by its network."""
        address = _address(text)
        return any(address in network for network in self.inside if network.version == address.version)


def _address(text: str) -> Address:
    """An address as it is meant: an IPv4 one in IPv6 clothes is that IPv4 address."""
    address = ipaddress.ip_address(text.partition("%")[0])
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour or (address.teredo and address.teredo[1])
        if inner:
            return inner
        if address in _NAT64:
            return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address


def _is_public(address: Address) -> bool:
    return address.is_global and not address.is_multicast and not address.is_reserved
