"""How long things are kept."""

import msgspec


class Retention(msgspec.Struct, frozen=True, kw_only=True):
    """Ages in seconds after a whole flow ended; None is for ever. `ids` counts from when the last of it expired.

    `intermediates`: files of jobs whose events started further jobs. `results`: files of the other jobs, and records
    of all. `failed`: dead and cancelled jobs. `logs`: logs of all jobs. `ids`: what is left then, for the ids.
    """

    intermediates_s: float | None = None
    results_s: float | None = None
    failed_s: float | None = None
    logs_s: float | None = None
    ids_s: float | None = 30 * 86_400.0

    @property
    def takes(self) -> bool:
        """Whether anything is ever taken."""
        return self.first_s is not None

    @property
    def first_s(self) -> float | None:
        """The age at which the first thing is taken."""
        ages = (self.intermediates_s, self.results_s, self.failed_s, self.logs_s)
        return min((age for age in ages if age is not None), default=None)
