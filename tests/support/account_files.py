"""The files and variables of an account on this machine, for tests.support.account."""

import os
import re
import shutil
from pathlib import Path

from tests.support.certificate import certificate
from tests.support.image_store import CERTIFICATES, HOME
from tests.support.machine import run
from tests.support.requests import ROOT

REGION = "eu-central-1"
PROGRAMS = ROOT / "build" / "stand-ins"
# Free on every machine; systemd-resolved has 127.0.0.53 and .54.
ADDRESS = "127.0.0.98"
# Of podman's own bridge, by which a function's container reaches the control plane.
BRIDGE = "10.88.0.1"
NODE = "22"
# Of Python packages: what lies in the folder of that name.
INDEX = "index.example.org"
CONFIGURATION = {
    # Only runc starts in a sandbox, and only with limits that needn't be raised.
    "containers.conf": """[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
[containers]
default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]
""",
    "storage.conf": f"""[storage]
driver = "overlay"
graphroot = "{HOME}/store"
runroot = "{HOME}/run"
""",
    # Without relative addresses pushes go to another scheme than they came by.
    "registry.yml": """version: 0.1
log:
  level: warn
storage:
  filesystem:
    rootdirectory: {home}/registry
http:
  addr: 127.0.0.1:{registry}
  relativeurls: true
""",
    "index/pip.conf": f"""[global]
no-index = true
find-links = https://{INDEX}/
""",
    "resolv.conf": f"nameserver {ADDRESS}\n",
    # Inside a sandbox a build may have no network of its own.
    "bin/podman": """#!/bin/sh
if [ "$1" = build ]; then shift; set -- build --isolation chroot --network host "$@"; fi
exec {podman} "$@"
""",
    "services.sh": """set -e
mount --bind {home}/resolv.conf /etc/resolv.conf
dnsmasq --no-resolv --no-hosts --listen-address={address} --bind-interfaces {upstream} \\
  --address=/execute-api.{region}.amazonaws.com/{address} \\
  --address=/dkr.ecr.{region}.amazonaws.com/{address} \\
  --address=/public.ecr.aws/{address} --address=/{name}/{address} \\
  --pid-file= --keep-in-foreground &
env --unset=REGISTRY_AUTH_FILE docker-registry serve {home}/registry.yml &
{python} -u -m http.server --bind 127.0.0.1 --directory {home}/index {index} &
{python} -P {support}/account_front.py {address} {home} {bridge} {control} {registry} {index} &
podman system service --time=0 unix://{home}/podman.sock &
sleep 1
exec {python} -P {support}/account_control.py {registry}
""",
}


def configure(control: int, registry: int, index: int) -> dict[str, str]:
    """Writes the configuration; returns the variables of who is signed in."""
    known = re.findall(r"^nameserver (\S+)", Path("/etc/resolv.conf").read_text(), re.MULTILINE)
    values = {
        "home": HOME,
        "control": control,
        "registry": registry,
        "index": index,
        "address": ADDRESS,
        "bridge": BRIDGE,
        "name": INDEX,
        "region": REGION,
        "upstream": " ".join(f"--server={server}" for server in known),
        "podman": shutil.which("podman"),
        "python": PROGRAMS / "bin" / "python",
        "support": Path(__file__).parent,
    }
    for name, text in CONFIGURATION.items():
        file = HOME / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(text.format(**values) if "{home}" in text or "{podman}" in text else text)
        file.chmod(0o755)
    names = [f"*.execute-api.{REGION}.amazonaws.com", f"*.dkr.ecr.{REGION}.amazonaws.com"]
    certificate(HOME, *names, "public.ecr.aws", INDEX)
    trusted = HOME / "trusted.pem"
    system = CERTIFICATES.read_text() if CERTIFICATES.exists() else ""
    trusted.write_text(system + (HOME / "certificate.pem").read_text())
    certificates = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "PIP_CERT")
    path = [HOME / "bin", _node() / "bin", PROGRAMS / "bin", os.environ["PATH"]]
    kept = ("HOME", "LANG", "PIP_FIND_LINKS", "PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL")
    return {
        **{name: os.environ[name] for name in kept if name in os.environ},
        **dict.fromkeys((*certificates, "NODE_EXTRA_CA_CERTS"), str(trusted)),
        "PATH": ":".join(map(str, path)),
        "TMPDIR": str(HOME),
        "CI": "true",
        "CDK_DOCKER": "podman",
        "CDK_HOME": str(HOME / "cdk"),
        "CONTAINERS_CONF": str(HOME / "containers.conf"),
        "CONTAINERS_STORAGE_CONF": str(HOME / "storage.conf"),
        "REGISTRY_AUTH_FILE": str(HOME / "registry-login.json"),
        "DOCKER_HOST": f"unix://{HOME}/podman.sock",
        "AWS_REGION": REGION,
        "AWS_ACCESS_KEY_ID": "000000000000",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_CONFIG_FILE": "/nowhere",
        "AWS_SHARED_CREDENTIALS_FILE": "/nowhere",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{control}",
        "MINISTACK_HOST": f"{REGION}.amazonaws.com",
        "MINISTACK_REGION": REGION,
        "GATEWAY_PORT": str(control),
        "BIND_HOST": "127.0.0.1",
        # Podman before 4.7 has no host-gateway.
        "LAMBDA_DOCKER_FLAGS": f"--add-host host.docker.internal:{BRIDGE}",
    }


def _node() -> Path:
    """A folder whose bin/node is new enough: this machine's, or one that npm has."""
    node = shutil.which("node")
    if node and int(run(node, "--version")[1:].partition(".")[0]) >= int(NODE):
        return Path(node).parent.parent
    folder = ROOT / "build" / "node"
    if not (folder / "bin" / "node").exists():
        run("npm", "install", "--no-audit", "--no-fund", "--prefix", folder, f"node@{NODE}")
        (folder / "bin").symlink_to("node_modules/node/bin")
    return folder
