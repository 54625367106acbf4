"""Deployment files against the schema that KubeRay's own API server would use, and what they would run.

`schemas/rayjob-v1.json.gz` is `openAPIV3Schema` of version v1 in ray-operator/config/crd/bases/ray.io_rayjobs.yaml of
github.com/ray-project/kuberay at v1.7.0 (Apache-2.0), without its descriptions. A RayCluster's specification is the
`rayClusterSpec` of a RayJob. No package of the registry ships it.
"""

import copy
import gzip
import json
import shlex
import subprocess
from functools import cache
from pathlib import Path

import jsonschema
import pytest
import yaml

from gr_vl import checks, compose

ROOT = Path(__file__).parent.parent
FILES = sorted((ROOT / "deploy" / "kuberay").glob("*.yaml"))
DEVICES = ("sft", "mine", "rl", "eval")
SIZES = ("tiny", "8gpu", "2x8gpu")


@cache
def schemas():
    """By kind, and closed: Kubernetes drops fields that it does not know, and we refuse them."""
    job = json.loads(gzip.decompress((ROOT / "tests" / "schemas" / "rayjob-v1.json.gz").read_bytes()))

    def close(node):
        if isinstance(node, dict):
            if node.get("x-kubernetes-int-or-string"):
                return {"type": ["integer", "string"]}
            node = {key: close(value) for key, value in node.items()}
            if isinstance(node.get("properties"), dict):
                node.setdefault("additionalProperties", False)
        return node

    job["properties"]["metadata"] = {"type": "object", "properties": {"name": {"type": "string"}}}
    job = close(job)
    cluster = copy.deepcopy(job)
    cluster["properties"]["spec"] = job["properties"]["spec"]["properties"]["rayClusterSpec"]
    return {"RayJob": job, "RayCluster": cluster}


def document(kind, size):
    return yaml.safe_load((ROOT / "deploy" / "kuberay" / f"{kind.lower()}-{size}.yaml").read_text())


def test_there_is_a_file_of_each_kind_and_size():
    assert {path.stem for path in FILES} == {f"{kind}-{size}" for kind in ("raycluster", "rayjob") for size in SIZES}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_file_follows_kuberays_schema(path):
    found = yaml.safe_load(path.read_text())
    assert found["apiVersion"] == "ray.io/v1"
    jsonschema.Draft202012Validator(schemas()[found["kind"]]).validate(found)


def test_the_schema_refuses_what_kuberay_does_not_know():
    found = document("RayJob", "8gpu")
    found["spec"]["rayClusterSpec"]["workerGroupSpecs"][0]["replica"] = 1
    with pytest.raises(jsonschema.ValidationError, match="'replica' was unexpected"):
        jsonschema.validate(found, schemas()["RayJob"])


@pytest.mark.parametrize("size", SIZES)
def test_a_job_brings_the_cluster_of_its_size(size):
    assert document("RayJob", size)["spec"]["rayClusterSpec"] == document("RayCluster", size)["spec"]


@pytest.mark.parametrize("size", SIZES)
def test_a_cluster_has_a_token_and_the_installed_ray(size):
    spec = document("RayCluster", size)["spec"]
    assert spec["authOptions"] == {"mode": "token"}
    assert f"ray=={spec['rayVersion']}\n" in (ROOT / "constraints.txt").read_text()


@pytest.mark.slow
@pytest.mark.parametrize("size", SIZES)
def test_a_job_runs_a_pipeline_that_fits_its_cluster(size):
    spec = document("RayJob", size)["spec"]
    words = shlex.split(spec["entrypoint"])
    assert words[:4] == ["python", "-m", "gr_vl.cli", "pipeline"]
    recipe, *overrides = words[4:]
    groups = spec["rayClusterSpec"].get("workerGroupSpecs", [])
    gpus = [group["template"]["spec"]["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] for group in groups]
    assert set(DEVICES) <= set(compose.pipeline(recipe, overrides))
    for name in DEVICES:
        stage = compose.stage(recipe, name, overrides)
        checks.check(stage, files=False)
        assert str(stage.run).startswith("/mnt/runs/")
        settings = stage.config.gr_vl
        assert (settings.gpus_per_node, settings.nodes) == ((gpus[0], groups[0]["replicas"]) if gpus else (1, 1))


def test_the_slurm_script_is_bash_that_asks_for_a_command():
    script = ROOT / "deploy" / "slurm.sbatch"
    assert subprocess.run(["bash", "-n", script], check=False).returncode == 0
    asked = subprocess.run(["bash", script], capture_output=True, text=True, check=False)
    assert (asked.returncode, asked.stderr.startswith("error: name what to run")) == (2, True)
