"""The room of one place: how many more attempts fit, by declared cpu, memory and gpu."""

from ion.model.module import Resources


class Slots:
    """Counts what running attempts take of an executor's capacity.

    A module that declares no cpu takes one. Several dispatchers on one machine share its capacity evenly; one whose
    share is less than a job needs still runs one at a time, else the job would never run.
    """

    def __init__(self, capacity: Resources) -> None:
        self._capacity = capacity
        self._sharers = 1
        self._taken: dict[tuple[str, int], Resources] = {}

    def share_with(self, sharers: int) -> None:
        """How many dispatchers use this place, this one included."""
        self._sharers = max(1, sharers)

    def take(self, job: str, attempt: int, needs: Resources) -> None:
        self._taken[job, attempt] = needs

    def give(self, job: str, attempt: int) -> None:
        self._taken.pop((job, attempt), None)

    def fits(self, needs: Resources, most: int) -> int:
        """How many more attempts with these needs fit, at most `most`."""
        room = min(
            _room(self._capacity.cpu, self._sharers, self._sum_cpu(), _cpu(needs), most),
            _room(self._capacity.memory, self._sharers, self._sum_memory(), needs.memory, most),
            _room(self._capacity.gpu, 1, self._sum_gpu(), needs.gpu, most),
        )
        return max(room, 1) if not self._taken and most > 0 else room

    def _sum_cpu(self) -> float:
        return sum(_cpu(r) for r in self._taken.values())

    def _sum_memory(self) -> float:
        return sum(r.memory for r in self._taken.values())

    def _sum_gpu(self) -> float:
        return sum(r.gpu for r in self._taken.values())


def _cpu(needs: Resources) -> float:
    return needs.cpu or 1.0


def _room(total: float, sharers: int, taken: float, each: float, most: int) -> int:
    if not total or not each:
        return most
    # The small addend forgives the rounding of fractions like 0.1 + 0.2.
    return max(0, min(most, int((total / sharers - taken) / each + 1e-9)))


def share_of(total: int, sharers: list[str], me: str, key: str) -> int:
    """This dispatcher's part of a module's concurrency: an even division, the remainder rotated by `key` so that it
    does not always fall to the same one.
    """
    if me not in sharers:
        return total
    order = sorted(sharers)
    whole, rest = divmod(total, len(order))
    rank = (order.index(me) + sum(key.encode())) % len(order)
    return whole + (1 if rank < rest else 0)
