"""The manifests are valid under strict offline validation, and the configuration in them is one that Weir accepts."""

import pathlib
import subprocess
import sys

import pytest
import yaml

from weir import ROOT, WEIR

MANIFEST = ROOT / "deploy" / "weir.yaml"


@pytest.mark.parametrize("version", ["1.35", "1.36", "1.37"])
def test_manifests_are_valid(version):
    tool = pathlib.Path(sys.executable).parent / "kubernetes-validate"
    checked = subprocess.run(
        [tool, "--strict", "--kubernetes-version", version, MANIFEST], capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_configuration_in_the_manifest_is_accepted(tmp_path):
    documents = list(yaml.safe_load_all(MANIFEST.read_text()))
    (config,) = [document for document in documents if document["kind"] == "ConfigMap"]
    for name, text in config["data"].items():
        path = tmp_path / name
        path.write_text(text)
        checked = subprocess.run(
            [WEIR, "check", "config", path],
            capture_output=True,
            text=True,
            check=False,
            env={"K8S_NODE_NAME": "node-1", "PATH": "/usr/bin"},
        )
        assert checked.returncode == 0, checked.stderr
