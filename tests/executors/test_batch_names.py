"""What things are called in a Batch account: ids that it takes, whatever they stand for."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ion.adapters.executors.azurebatch.names import batch_job_id, display_name, handle_of, jobs_prefix, task_id
from ion.adapters.executors.azurebatch.settings import BatchSettings, options_of
from ion.errors import InvalidError
from ion.model.ids import new_id
from ion.ports.executor import Handle

ID = re.compile(r"[-_A-Za-z0-9]{1,64}")


def test_a_task_is_named_after_its_attempt() -> None:
    """So whoever adds it a second time finds the first."""
    job = new_id()
    assert task_id(job, 12) == f"{job}-12"


@given(st.text(max_size=100), st.integers(1, 999_999_999))
def test_any_job_has_an_id_that_batch_takes(job: str, attempt: int) -> None:
    """Of at most 64 characters, and another for another attempt."""
    assert ID.fullmatch(task_id(job, attempt))
    assert task_id(job, attempt) != task_id(job, attempt + 1)


def test_ids_that_differ_in_case_only_stay_two() -> None:
    """Batch would take them for the same."""
    assert task_id("Job", 1).lower() != task_id("job", 1).lower()


@given(st.from_regex(r"[-_A-Za-z0-9]{1,64}", fullmatch=True), st.from_regex(r"[a-z]{1,20}", fullmatch=True))
def test_a_batch_job_is_for_one_ledger_and_one_pool(pool: str, instance: str) -> None:
    """Its id says whose it is, and is as short as it has to be."""
    name = batch_job_id(instance, "a ledger", pool)
    assert ID.fullmatch(name)
    assert name.startswith(jobs_prefix(instance, "a ledger"))
    assert not name.startswith(jobs_prefix(instance, "another"))


def test_the_display_name_says_whose_attempt_a_task_is() -> None:
    """Also to people; what others made says nothing."""
    job = new_id()
    assert handle_of(display_name("detect", job, 3), "s") == Handle(scope="s", job=job, attempt=3)
    assert handle_of("somebody's task", "s") is None
    assert handle_of("", "s") is None


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"pol": "gpu"}, "its azurebatch settings have the unknown key 'pol'; did you mean 'pool'?"),
        ({"pool": "a b"}, "its azurebatch settings cannot be used: the pool 'a b' is no name in Batch"),
        ({"slots": 0}, "its azurebatch settings cannot be used: slots are 1 to 256"),
    ],
)
def test_what_a_module_may_not_say_is_refused(options: dict[str, object], sentence: str) -> None:
    """In one sentence, with what to write."""
    with pytest.raises(InvalidError) as refused:
        options_of(options)
    assert str(refused.value).startswith(sentence)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"url": "batch.azure.com"}, "is no account's: write https://NAME.REGION.batch.azure.com"),
        ({"url": "http://acme.westeurope.batch.azure.com"}, "is not encrypted: write it with https://"),
        ({"instance": "a_b"}, "the instance 'a_b' is no name"),
        ({"key": "a key?"}, "the key is no account's"),
        ({"pool": "ü"}, "the pool 'ü' is no name in Batch"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings: dict[str, str], sentence: str) -> None:
    """Before anything is asked of an account."""
    with pytest.raises(InvalidError) as refused:
        BatchSettings(**settings)  # type: ignore[arg-type]
    assert sentence in str(refused.value)


def test_secrets_are_masked() -> None:
    """The key stands in no message."""
    settings = BatchSettings(url="https://acme.westeurope.batch.azure.com", key="c2VjcmV0")
    assert "c2VjcmV0" not in repr(settings)
    assert settings.name == "acme"
