"""Terraform is initialized once for each worker that asks for it."""

from collections.abc import Iterator

import pytest
from tests.deploy.terraform import Applied, Deployment, deployment


@pytest.fixture(scope="session")
def terraform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """The configuration, ready to be applied."""
    with deployment(tmp_path_factory.mktemp("terraform")) as ready:
        yield ready


@pytest.fixture(scope="session")
def applied(terraform: Deployment) -> Applied:
    """With the variables that have no default, and nothing else."""
    return terraform.apply()


@pytest.fixture(scope="session")
def keyed(terraform: Deployment) -> Applied:
    """With all that can be otherwise: the blobs' key, no Batch, spot nodes, everybody let in, no image built."""
    return terraform.apply(
        suffix="2ab",
        blob_credentials="key",
        batch_enabled=False,
        job_nodes={"spot": True},
        bus_units=1,
        allowed_cidrs=["0.0.0.0/0"],
        build_image=False,
        extra_secrets={"VISION_KEY": "a-modules-secret"},
        helm_values=["gateway: {replicas: 3}"],
    )
