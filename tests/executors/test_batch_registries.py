"""Images that are not for everybody: a registry with a password, from which nodes of Azure Batch pull."""

from pathlib import Path

from tests.batch_double.place import Place, double, place, task_images
from tests.batch_double.registry import PASSWORD, USER, registry
from tests.batch_double.service import BatchDouble

from ion.adapters.executors.azurebatch.settings import Registry
from ion.model.job import FailureClass
from ion.ports.executor import Phase
from ion.testing.conformance.executor import WRITES_A_FILE

__all__ = ["double", "place", "task_images"]


async def test_a_node_pulls_with_the_password(double: BatchDouble, place: Place, tmp_path: Path) -> None:
    """Without it the attempt fails for infrastructure; with it the image is there."""
    with registry(place.shell, tmp_path) as image:
        server = image.partition("/")[0]
        (double.account.nodes / "registries.conf").write_text(f'[[registry]]\nlocation = "{server}"\ninsecure = true\n')
        refused = await place.ended(place.assignment(WRITES_A_FILE, image=image))
        assert refused.failure is not None
        assert refused.failure.kind is FailureClass.INFRASTRUCTURE
        assert "cannot be pulled" in refused.failure.message
        known = place.but(registries=(Registry(server=server, user=USER, password=PASSWORD),))
        status = await known.ended(place.assignment(WRITES_A_FILE, image=image))
        assert status.phase is Phase.SUCCEEDED, status
