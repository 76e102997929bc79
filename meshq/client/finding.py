"""Where nodes are looked for, and which of the hints may be followed; the same for clients and for nodes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from meshq.config import Settings
from meshq.core.membership import Candidate as DialCandidate
from meshq.errors import ConfigError
from meshq.transport.addresses import endpoint, is_loopback, is_numeric, parse_endpoint
from meshq.transport.discovery import Candidate, Discovery, StaticDiscovery
from meshq.transport.keys import MeshKey

MAX_UNSAFE = 1_000
"""Open nodes noted, to explain why none is seen. The threat: a spoofer who announces ever new ones."""

Post = Callable[..., None]


def named_peers(settings: Settings) -> list[Discovery]:
    """Return the discovery of the peers that the user has named, if there are any."""
    return [StaticDiscovery(settings.peers)] if settings.peers else []


class Finding:
    """Follows discoveries: turns what they find into candidates, as far as those may be dialled.

    ``see`` and ``lose`` are called in the loop's thread, by way of ``post``. Without a key, and without leave to
    do otherwise, only loopback is dialled: on any other address anybody could answer.
    """

    def __init__(
        self,
        settings: Settings,
        key: MeshKey | None,
        post: Post,
        see: Callable[[DialCandidate], Any],
        lose: Callable[[str], Any],
    ) -> None:
        self.unsafe: dict[str, str] = {}
        """Candidates that are not dialled as they are open to anybody: name → where. For the loop's thread."""
        self._loopback_only = key is None and not settings.insecure
        self._post = post
        self._see = see
        self._lose = lose
        self._sources: list[Discovery] = []
        self._closed = False

    def start(self, sources: Sequence[Discovery]) -> None:
        """Start the discoveries. From any thread; it may take a while."""
        for source in sources:
            self._sources.append(source)  # before it starts, so that it is closed whenever that comes
            if not self._closed:
                source.start(self._on_candidate, self._on_gone)

    def close(self) -> None:
        """End the discoveries; nothing is found after this."""
        self._closed = True
        for source in self._sources:
            source.close()

    def may_follow(self, where: str, via: str) -> bool:
        """Tell whether to dial an endpoint that the node at ``via`` has named.

        Loopback leads to the same place only for who has reached that node over loopback.
        """
        try:
            host = parse_endpoint(where)[0]
        except ConfigError:
            return False
        if is_loopback(host):
            return is_loopback(parse_endpoint(via)[0])
        return is_numeric(host) and not self._loopback_only

    def _on_candidate(self, candidate: Candidate) -> None:
        converted = self._convert(candidate)
        if converted is not None and not self._closed:
            self._post(self._see, converted)

    def _on_gone(self, instance: str) -> None:
        if not self._closed:
            self._post(self._lose, instance)

    def _convert(self, candidate: Candidate) -> DialCandidate | None:
        """Return the candidate as the machines take it, or None where it must not be dialled."""
        hosts = candidate.addresses
        label = f"{candidate.name}@{candidate.host}" if candidate.name else candidate.instance
        if self._loopback_only:
            hosts = tuple(host for host in hosts if is_loopback(host))
            if not hosts and not candidate.key:
                self._post(self._note_unsafe, label, endpoint(candidate.addresses[0], candidate.port))
                return None
        endpoints = tuple(endpoint(host, candidate.port) for host in hosts or candidate.addresses)
        return DialCandidate(candidate.instance, endpoints, (), candidate.key, candidate.source, label)

    def _note_unsafe(self, label: str, where: str) -> None:
        if len(self.unsafe) < MAX_UNSAFE:
            self.unsafe[label] = where
