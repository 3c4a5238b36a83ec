"""The adapters that an inference node offers: files in, names to activate out. Loading goes on beside the control, never in its way."""

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from policy_server.runtime.adapter import Adapter, AdapterError, read_adapter
from policy_server.runtime.engine import Denoiser
from policy_server.runtime.errors import PolicyError

State = Literal["loading", "ready", "failed"]
BASE = ""  # the name of no adapter


@dataclass(frozen=True)
class Offer:
    """An adapter on the shelf: where it came from, and whether it can be activated. ``reason``: why it failed."""

    file: str
    adapter: Adapter
    state: State = "loading"
    reason: str = ""


@dataclass(frozen=True)
class Plan:
    """What the shelf is to hold, and which of it is to be active: all read and checked, nothing changed yet."""

    offers: Mapping[str, Offer]
    active: str


class AdapterShelf:
    """Named adapters of one denoiser.

    ``plan`` reads files and checks them, in a few milliseconds; ``apply`` returns at once: a thread of its own hands new adapters to ONNX
    Runtime and samples a chunk with each. An adapter that is asked for before it is ready becomes active when it is. Methods but
    the reading properties are called from one thread.
    """

    def __init__(self, denoiser: Denoiser, on_failure: Callable[[str], object] = lambda reason: None) -> None:
        self._denoiser = denoiser
        self._on_failure = on_failure
        self._changing = threading.RLock()
        self._loading = threading.Lock()  # one adapter at a time; taken before _changing
        self._offers: dict[str, Offer] = {}
        self._wanted = BASE
        self._loaders: list[threading.Thread] = []

    @property
    def offers(self) -> Mapping[str, Offer]:
        """By name."""
        with self._changing:
            return dict(self._offers)

    @property
    def wanted(self) -> str:
        """Name of the adapter that is to be active, or ``BASE``; it is not yet while it is being loaded."""
        return self._wanted

    def plan(self, files: Sequence[str], active: str) -> Plan:
        """The shelf with these files and this adapter active.

        Raises:
            AdapterError: a file cannot be read or does not fit the bundle, two hold the same name, or no adapter on the shelf is called
                ``active``.
        """
        by_file = {offer.file: offer for offer in self.offers.values() if offer.state != "failed"}
        offers: dict[str, Offer] = {}
        for file in dict.fromkeys(files):
            offer = by_file.get(file) or self._read(file)
            name = offer.adapter.name
            other = offers.get(name) or self.offers.get(name)
            if other is not None and other.file != file:
                raise AdapterError(f"'{file}' and '{other.file}' both hold an adapter '{name}': drop one of them first")
            offers[name] = offer
        if active != BASE and active not in offers:
            raise AdapterError(self._complaint(active, offers))
        return Plan(offers, active)

    def apply(self, plan: Plan) -> None:
        """Make it so. What a plan no longer holds is dropped, its files are left alone."""
        with self._changing:
            new = [offer for name, offer in plan.offers.items() if self._offers.get(name) is not offer]
            self._offers, self._wanted = dict(plan.offers), plan.active
            self._settle()
        self._loaders = [loader for loader in self._loaders if loader.is_alive()]
        if new:
            loader = threading.Thread(target=self._load, args=(new,), name="adapters", daemon=True)
            self._loaders.append(loader)
            loader.start()

    def describe(self) -> dict[str, Any]:
        """For people and programs: what is active, what is to be, what the newest chunk was sampled with (None: the base policy), and
        every adapter on the shelf; plain values that JSON can hold."""
        return {
            "active": self._denoiser.active,
            "wanted": self._wanted or None,
            "newest_chunk": self._denoiser.sampled_with,
            "adapters": [
                {
                    "name": name,
                    "file": offer.file,
                    "state": offer.state,
                    "reason": offer.reason,
                    "rank": offer.adapter.rank,
                    "layers": len(offer.adapter.layers),
                    "parameters": offer.adapter.parameters,
                }
                for name, offer in self.offers.items()
            ],
        }

    def wait(self) -> None:
        """Until nothing is being loaded.

        Raises:
            AdapterError: an adapter on the shelf could not be loaded.
        """
        for loader in self._loaders:
            loader.join()
        for offer in self.offers.values():
            if offer.state == "failed":
                raise AdapterError(offer.reason)

    def _read(self, file: str) -> Offer:
        adapter = read_adapter(file)
        self._denoiser.check(adapter)
        return Offer(file, adapter)

    def _complaint(self, active: str, offers: Mapping[str, Offer]) -> str:
        if active in self.offers:
            return f"adapter '{active}' is to be active: activate another one or the base policy (an empty name) before it is dropped"
        return f"no adapter '{active}' is loaded; loaded: {', '.join(offers) or 'none'}"

    def _load(self, offers: Sequence[Offer]) -> None:
        for offer in offers:
            with self._loading:
                self._load_one(offer)

    def _load_one(self, offer: Offer) -> None:
        with self._changing:
            if self._offers.get(offer.adapter.name) is not offer:
                return  # dropped before its turn came
            self._drop_unless_active(offer.adapter.name)  # from before, when the name was on the shelf already
        try:
            self._denoiser.load(offer.adapter)
            self._conclude(offer, "ready", "")
        except Exception as error:
            reason = str(error) if isinstance(error, PolicyError) else f"{type(error).__name__}: {error}"
            self._conclude(offer, "failed", reason)
            self._on_failure(reason)

    def _conclude(self, offer: Offer, state: State, reason: str) -> None:
        name = offer.adapter.name
        with self._changing:
            if self._offers.get(name) is offer:
                if state == "ready" and name not in self._denoiser.loaded:
                    raise AdapterError(f"adapter '{name}' was dropped while it was loaded: set the parameter again")
                self._offers[name] = Offer(offer.file, offer.adapter, state, reason)
            elif state == "ready":
                self._drop_unless_active(name)  # taken off the shelf meanwhile
            self._settle()

    def _settle(self) -> None:
        """Activate what is to be active, as far as it is ready; then drop what is not offered any more.

        What is being loaded stays: the denoiser may hold it already, though its offer does not say so yet.
        """
        ready = {name for name, offer in self._offers.items() if offer.state == "ready"}
        offered = ready | {name for name, offer in self._offers.items() if offer.state == "loading"}
        if self._wanted == BASE or self._wanted in ready:
            self._denoiser.activate(self._wanted or None)
        for name in self._denoiser.loaded:
            if name not in offered:
                self._drop_unless_active(name)

    def _drop_unless_active(self, name: str) -> None:
        if name in self._denoiser.loaded and name != self._denoiser.active:
            self._denoiser.drop(name)


def files_in(text: str) -> list[str]:
    """The files named in a parameter: separated by commas."""
    return [part.strip() for part in text.split(",") if part.strip()]
