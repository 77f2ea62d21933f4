"""Topics, subscriptions and their messages, under locks that expire; time is passed in."""

import heapq
import uuid
from dataclasses import dataclass, field

DEAD_LETTERS = "/$deadletterqueue"


@dataclass
class Entry:
    """One message in one queue."""

    seq: int
    raw: bytes
    enqueued: float
    expires: float = 0.0
    count: int = 0
    token: uuid.UUID | None = None
    locked_until: float = 0.0
    reason: str = ""


@dataclass
class Queue:
    """A subscription, or its dead letters, which have no `dead_letters` of their own."""

    path: str
    lock_s: float
    most_deliveries: int
    dead_letters: "Queue | None" = None
    entries: dict[int, Entry] = field(default_factory=dict)
    _waiting: list[int] = field(default_factory=list)
    _locked: dict[uuid.UUID, Entry] = field(default_factory=dict)
    moved: list[tuple[Entry, str]] = field(default_factory=list)

    def put(self, entry: Entry) -> None:
        self.entries[entry.seq] = entry
        heapq.heappush(self._waiting, entry.seq)

    def take(self, now: float) -> Entry | None:
        while self._waiting and self._waiting[0] not in self.entries:
            heapq.heappop(self._waiting)  # it was done with before the double was killed
        if not self._waiting:
            return None
        entry = self.entries[heapq.heappop(self._waiting)]
        entry.token = uuid.uuid4()
        entry.locked_until = now + self.lock_s
        self._locked[entry.token] = entry
        return entry

    def holds(self, token: uuid.UUID, now: float) -> bool:
        return token in self._locked and self._locked[token].locked_until > now

    def renew(self, token: uuid.UUID, now: float) -> float:
        self._locked[token].locked_until = now + self.lock_s
        return self._locked[token].locked_until

    def complete(self, token: uuid.UUID) -> Entry:
        entry = self._locked.pop(token)
        del self.entries[entry.seq]
        return entry

    def give_back(self, token: uuid.UUID, *, counts: bool) -> None:
        entry = self._locked.pop(token)
        entry.token = None
        entry.count += counts
        if self.dead_letters is not None and entry.count >= self.most_deliveries:
            self.bury(entry, "MaxDeliveryCountExceeded")
        else:
            heapq.heappush(self._waiting, entry.seq)

    def reject(self, token: uuid.UUID, reason: str) -> None:
        self.bury(self._locked.pop(token), reason)

    def bury(self, entry: Entry, reason: str) -> None:
        if self.dead_letters is None:
            heapq.heappush(self._waiting, entry.seq)
            return
        del self.entries[entry.seq]
        entry.token, entry.reason, entry.expires = None, reason, 0.0
        self.dead_letters.put(entry)
        self.moved.append((entry, reason))

    def expire(self, now: float) -> None:
        """Ends what locks and messages have outlived."""
        for token in [token for token, entry in self._locked.items() if entry.locked_until <= now]:
            self.give_back(token, counts=True)
        old = {seq for seq in self._waiting if seq in self.entries and 0 < self.entries[seq].expires <= now}
        if old:
            self._waiting = [seq for seq in self._waiting if seq not in old]
            heapq.heapify(self._waiting)
            for seq in sorted(old):
                self.bury(self.entries[seq], "TTLExpiredException")

    def lose_locks(self) -> None:
        for token in list(self._locked):
            self.give_back(token, counts=True)


@dataclass
class Topic:
    """`window_s`: for how long a message id is remembered; zero is no detection. `description`: its XML, as given."""

    name: str
    description: bytes
    window_s: float
    age_s: float
    subscriptions: dict[str, Queue] = field(default_factory=dict)
    descriptions: dict[str, bytes] = field(default_factory=dict)
    ages_s: dict[str, float] = field(default_factory=dict)
    seen: dict[str, float] = field(default_factory=dict)

    def repeats(self, message_id: str, now: float) -> bool:
        """Whether this id was here within the window; from now on it was."""
        if not self.window_s or not message_id:
            return False
        if now - self.seen.get(message_id, -self.window_s) < self.window_s:
            return True
        self.seen[message_id] = now
        return False
