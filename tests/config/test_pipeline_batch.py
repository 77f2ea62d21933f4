"""Azure Batch in the pipeline file."""

from collections.abc import Callable

import msgspec

from ion.adapters.executors.azurebatch.settings import BatchSettings, ModuleOptions, Registry
from ion.config.batches import AZUREBATCH, MODULE_AZUREBATCH
from ion.config.pipeline import Pipeline
from ion.wiring.batch import with_key

Load = Callable[..., Pipeline]
Refusal = Callable[..., str]
ONE = "ion: 1\nmodules: {a: {command: [x]}}\n"


def test_every_setting_has_a_key() -> None:
    """What the executor may be told can be written, and nothing else."""
    said = {field.into or key for key, field in AZUREBATCH.fields.items()}
    assert said == {field.name for field in msgspec.structs.fields(BatchSettings)}
    assert set(MODULE_AZUREBATCH.fields) == {field.encode_name for field in msgspec.structs.fields(ModuleOptions)}


def test_the_account_is_typed(load: Load) -> None:
    """Durations become seconds, one registry stands for a list, passwords come from variables."""
    text = """
azurebatch:
  url: https://acme.westeurope.batch.azure.com
  pool: cpu
  instance: two
  handlerImage: acme/ion:1
  registry: {server: acme.azurecr.io, user: puller, password: "${PASSWORD}"}
  slack: 20m
  kept: 12h
"""
    assert load(ONE + text, environ={"PASSWORD": "p"}).settings.azurebatch == BatchSettings(
        url="https://acme.westeurope.batch.azure.com",
        pool="cpu",
        instance="two",
        handler_image="acme/ion:1",
        registries=(Registry(server="acme.azurecr.io", user="puller", password="p"),),
        slack_s=1200.0,
        kept_s=43_200.0,
    )
    assert load(ONE).settings.azurebatch == BatchSettings()


def test_what_a_module_says_is_kept_as_json(load: Load) -> None:
    """So it is the same whether it came from a file or from another host."""
    text = "ion: 1\nmodules: {a: {image: i, provider: azurebatch, azurebatch: {pool: gpu, slots: 2}}}\n"
    (module,) = load(text).modules
    assert module.azurebatch == {"pool": "gpu", "slots": 2}


def test_what_cannot_be_is_refused_with_its_place(refusal: Refusal) -> None:
    """In one sentence, before anything is asked of an account."""
    assert "is not encrypted: write it with https://" in refusal(
        ONE + "azurebatch: {url: http://acme.westeurope.batch.azure.com}\n"
    )
    assert "did you mean 'pool'?" in refusal(ONE + "azurebatch: {pol: a}\n")
    assert "slots" in refusal("ion: 1\nmodules: {a: {image: i, azurebatch: {slots: 0}}}\n")


def test_the_key_comes_from_the_environment() -> None:
    """Where the file does not give it; one that it gives counts."""
    assert with_key(BatchSettings(), {"ION_AZUREBATCH_KEY": "a2V5"}).key == "a2V5"
    assert with_key(BatchSettings(key="bWluZQ=="), {"ION_AZUREBATCH_KEY": "a2V5"}).key == "bWluZQ=="
