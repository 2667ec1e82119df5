"""Holds the compose files, the nginx files, .env.example and the settings against each other."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from batchline.config.exposure import check_exposure
from batchline.config.fleet_settings import FleetSettings
from batchline.config.unknown_names import COMPOSE_ONLY, PREFIX
from batchline.errors import Invalid
from batchline.fleet.gpus import Gpu
from batchline.fleet.programs import (
    CPU_MODEL_NAME,
    DEFAULT_GPU_MODEL,
    ModelOptions,
    plan_cpu_servers,
    plan_gpu_servers,
)
from batchline.handlers.sections import read_sections
from batchline.settings import Settings
from deliver.builtin.label_studio import LabelStudio

ROOT = Path(__file__).parents[2]
SERVERS = {"docker-compose.yml": 1, "docker-compose-8gpu.yml": 8, "docker-compose.cpu.yml": 2}
NGINX = {
    "docker-compose.yml": "nginx/nginx.conf",
    "docker-compose-8gpu.yml": "nginx/nginx-8gpu.conf",
    "docker-compose.cpu.yml": "nginx/nginx-cpu.conf",
}
GPU_FILES = [name for name in SERVERS if "cpu" not in name]
VARIABLE = re.compile(r"\$\{(\w+)(?::-([^}]*))?\}")
OF_UP = set(FleetSettings.model_fields)
OURS = ("gateway", "dispatcher", "deliverer")
HANDLERS_NEED = ("LABEL_STUDIO_TOKEN", "LABEL_STUDIO_URL")
UVICORN_KEEP_ALIVE_S = 5  # vLLM's default, VLLM_HTTP_TIMEOUT_KEEP_ALIVE

every_file = pytest.mark.parametrize("name", SERVERS)
every_gpu_file = pytest.mark.parametrize("name", GPU_FILES)


def text(name: str) -> str:
    return (ROOT / name).read_text("utf-8")


def compose(name: str) -> dict:
    """Load a compose file with every variable at its default."""
    return yaml.safe_load(VARIABLE.sub(lambda found: found[2] or "", text(name)))


def servers(name: str) -> dict:
    return {k: v for k, v in compose(name)["services"].items() if k.startswith("vllm-")}


def seconds(duration: str) -> int:
    number, unit = re.fullmatch(r"(\d+)([sm])", duration).groups()
    return int(number) * {"s": 1, "m": 60}[unit]


def passed_through(name: str) -> set[str]:
    """Return the variables that containers and builds take from the environment by name alone."""
    content = compose(name)
    services = content["services"].values()
    blocks = [s.get("environment", {}) for s in services]
    blocks += [s.get("build", {}).get("args", {}) for s in services]
    return {key for block in blocks for key, value in block.items() if value is None}


def without_the_servers(services: dict) -> dict:
    """Return our processes and nginx less all that depends on the number of servers."""
    ours = {name: dict(services[name]) for name in OURS}
    for spec in ours.values():
        spec["environment"] = {**spec["environment"], "BATCHLINE_BACKEND_URLS": "any"}
    varying = ("volumes", "extra_hosts", "depends_on")
    nginx = {key: value for key, value in services["nginx"].items() if key not in varying}
    return {**ours, "nginx": nginx, "label-studio": services["label-studio"]}


def example() -> dict[str, str]:
    """Return the knobs of .env.example with the values shown."""
    return dict(re.findall(r"^#?([A-Z]\w+)=(.*)$", text(".env.example"), re.MULTILINE))


@every_file
def test_the_services_are_the_servers_nginx_and_our_processes(name):
    """Every variant has the same topology and differs in the number of servers only."""
    expected = {f"vllm-{n}" for n in range(SERVERS[name])} | {"nginx", "label-studio", *OURS}

    assert set(compose(name)["services"]) == expected


@every_file
def test_every_service_is_watched_restarted_and_its_log_bounded(name):
    """A service without a health check, a restart policy or log rotation fails unseen."""
    for service, spec in compose(name)["services"].items():
        assert spec["restart"] == "unless-stopped", service
        assert spec["healthcheck"]["test"][0] == "CMD", service
        assert spec["logging"]["options"]["max-size"], service


@every_file
def test_nginx_lists_exactly_the_servers_of_the_compose_file(name):
    """Nginx spreads over every server of its compose file, and its file is the one mounted."""
    nginx = compose(name)["services"]["nginx"]
    listed = re.findall(r"^\s*server ([\w-]+:\d+) max_fails=1", text(NGINX[name]), re.MULTILINE)

    assert nginx["volumes"] == [f"./{NGINX[name]}:/etc/nginx/nginx.conf:ro"]
    assert listed == [f"{server}:8000" for server in servers(name)]


@every_file
def test_nginx_knows_every_server_by_its_fixed_address(name):
    """The addresses in nginx's hosts are the servers' own, inside the subnet, outside its range."""
    content = compose(name)
    pool = content["networks"]["default"]["ipam"]["config"][0]
    prefix = pool["subnet"].removesuffix(".0/24")
    own = {k: v["networks"]["default"]["ipv4_address"] for k, v in servers(name).items()}

    assert dict(h.split(":") for h in content["services"]["nginx"]["extra_hosts"]) == own
    assert len(set(own.values())) == len(own)
    assert pool["ip_range"] == f"{prefix}.128/25"
    for address in own.values():
        assert address.startswith(f"{prefix}.")
        assert 1 < int(address.rsplit(".", 1)[1]) < 128


@every_file
@pytest.mark.parametrize("service", OURS)
def test_the_processes_are_told_where_the_others_are(name, service):
    """Each of them reaches nginx and every server by the names of the compose file."""
    environment = compose(name)["services"][service]["environment"]
    told = Settings(
        **{k.removeprefix(PREFIX).lower(): v for k, v in environment.items() if v is not None}
    )

    assert told.upstream_url == "http://nginx:8000"
    assert told.backend_urls == tuple(f"http://{server}:8000" for server in servers(name))
    assert told.data_dir == Path("/data")
    assert {told.host, told.dispatcher_host, told.deliverer_host} == {"0.0.0.0"}


@every_file
def test_containers_reach_each_other_by_the_names_of_the_services(name):
    """A name that is not known is refused: to Prometheus, to the dispatcher, to interactive requests."""
    services = compose(name)["services"]
    for service in OURS:
        environment = services[service]["environment"]
        told = Settings(_env_file=None, allowed_hosts=environment["BATCHLINE_ALLOWED_HOSTS"])

        assert all(told.known.knows(f"{ours}:5000") for ours in OURS)
        assert not told.known.knows("evil.test")

    hosts = re.search(r"map \$host .*?\n    }", text(NGINX[name]), re.DOTALL)[0]
    upstream = environment["BATCHLINE_UPSTREAM_URL"].removeprefix("http://").partition(":")[0]
    assert f'"{upstream}" 1;' in hosts


@every_file
def test_health_checks_and_ports_agree_with_what_the_processes_listen_on(name):
    """A health check on the wrong port would call a sound service broken."""
    services = compose(name)["services"]
    environment = services["gateway"]["environment"]
    gateway = environment["BATCHLINE_PORT"]
    dispatcher = environment["BATCHLINE_DISPATCHER_PORT"]
    deliverer = environment["BATCHLINE_DELIVERER_PORT"]
    nginx = re.search(r"^\s*listen (\d+)", text(NGINX[name]), re.MULTILINE)[1]

    assert services["gateway"]["healthcheck"]["test"][-1] == f"http://127.0.0.1:{gateway}/health"
    assert services["gateway"]["ports"][0].endswith(f":{gateway}")
    assert services["dispatcher"]["healthcheck"]["test"][-1].endswith(f":{dispatcher}/health")
    assert services["deliverer"]["healthcheck"]["test"][-1].endswith(f":{deliverer}/health")
    assert services["nginx"]["healthcheck"]["test"][-1].endswith(f":{nginx}/nginx-health")
    assert services["nginx"]["ports"][0].endswith(f":{nginx}")
    assert "location = /nginx-health" in text(NGINX[name])
    assert f"EXPOSE {gateway} {dispatcher} {deliverer}\n" in text("Dockerfile")
    for server, spec in servers(name).items():
        assert spec["healthcheck"]["test"][-1] == "http://127.0.0.1:8000/health", server


@every_file
def test_every_setting_can_be_given_and_no_other_name_is_passed(name):
    """A setting missing from the compose file could not be changed; an unknown one stops the start."""
    known = {
        PREFIX + field.upper() for field in Settings.model_fields if field not in OF_UP
    }  # here the fleet is the compose file

    for service in OURS:
        of_handlers = set(HANDLERS_NEED) if service == "deliverer" else set()
        assert set(compose(name)["services"][service]["environment"]) == known | of_handlers


@every_file
def test_the_handlers_file_finds_the_label_studio_of_the_profile(name):
    """Without a token it is off; with one the same token opens the Label Studio that the profile starts."""
    services = compose(name)["services"]
    studio, ours = services["label-studio"], services["deliverer"]
    port = studio["healthcheck"]["test"][-1].removesuffix("/health").rpartition(":")[2]

    (off,), no_faults = read_sections(text("handlers/handlers.yaml"), {})
    (on,), _ = read_sections(text("handlers/handlers.yaml"), {"LABEL_STUDIO_TOKEN": "f" * 40})

    assert no_faults == []
    assert not LabelStudio().enabled(off.settings)
    assert LabelStudio().enabled(on.settings)
    assert on.settings["url"] == f"http://label-studio:{port}"
    assert {variable for variable, _ in VARIABLE.findall(text("handlers/handlers.yaml"))} == set(
        HANDLERS_NEED
    )
    assert 'LABEL_STUDIO_USER_TOKEN: "${LABEL_STUDIO_TOKEN:-}"' in text(name)
    assert studio["profiles"] == ["curation"]
    mounted = ours["volumes"][-1].split(":")[1]
    assert ours["environment"]["BATCHLINE_HANDLERS_FOLDER"] == mounted
    assert ours["environment"]["BATCHLINE_HANDLERS_FILE"] == f"{mounted}/handlers.yaml"
    assert ours["init"] is True


@every_file
def test_names_of_the_compose_files_never_look_like_settings(name):
    """Batchline refuses unknown BATCHLINE_ names, so compose's own need their own prefix."""
    known = {PREFIX + field.upper() for field in Settings.model_fields}
    used = {variable for variable, _ in VARIABLE.findall(text(name))}

    assert {v for v in used if v.startswith(PREFIX) and not v.startswith(COMPOSE_ONLY)} <= known


def test_env_example_holds_every_variable_used_and_no_other():
    """.env.example is the whole list of knobs."""
    used = {variable for name in SERVERS for variable, _ in VARIABLE.findall(text(name))}
    used |= {variable for name in SERVERS for variable in passed_through(name)}

    assert set(example()) == used


def test_env_example_shows_the_defaults_of_the_compose_files():
    """What .env.example shows as the default is what runs without it."""
    shown = example()

    for name in SERVERS:
        for variable, default in VARIABLE.findall(text(name)):
            assert default in ("", shown[variable]), variable


def test_env_example_shows_the_defaults_of_the_settings():
    """The values shown for batchline's own settings are its defaults, where there is one."""
    shown = {
        field: example()[PREFIX + field.upper()]
        for field, info in Settings.model_fields.items()
        if PREFIX + field.upper() in example() and info.default not in (None, ())
    }

    told = Settings(_env_file=None, **shown)

    assert shown
    assert {f: getattr(told, f) for f in shown} == {
        f: Settings.model_fields[f].default for f in shown
    }


@every_file
def test_the_grace_of_docker_is_longer_than_that_of_the_process(name):
    """A process killed while it drains would lose the answers in flight."""
    services = compose(name)["services"]
    grace_s = Settings.model_fields["grace_s"].default

    for service in OURS:
        assert seconds(services[service]["stop_grace_period"]) > grace_s
    for server, spec in servers(name).items():
        command = spec.get("command") or text("Dockerfile")
        drain_s = int(re.search(r"--shutdown-timeout\W+(\d+)", command)[1])
        assert seconds(spec["stop_grace_period"]) > drain_s, server


@every_file
def test_nginx_outwaits_the_dispatcher_and_closes_idle_connections_before_vllm(name):
    """Nginx must not give up on a line first, nor post into a connection the server is closing."""
    config = text(NGINX[name])
    upstream = re.search(r"upstream \w+ \{(.*?)\n    \}", config, re.DOTALL)[1]
    read_timeout_s = int(re.search(r"proxy_read_timeout (\d+)s;", config)[1])

    assert read_timeout_s > Settings.model_fields["request_timeout_s"].default
    assert int(re.search(r"keepalive_timeout (\d+)s;", upstream)[1]) < UVICORN_KEEP_ALIVE_S


@every_gpu_file
def test_the_servers_run_like_those_of_batchline_up(name):
    """Model, environment and common flags of a GPU server are those that `batchline up` plans."""
    options = ModelOptions(model="any", served_name="any", logs=Path("/"))
    planned = plan_gpu_servers(options, [Gpu(0, "any", "any", 1)], vllm=["vllm"])[0]

    for server, spec in servers(name).items():
        assert spec["command"].startswith(DEFAULT_GPU_MODEL), server
        assert set(spec["environment"].items()) >= {
            (key, value) for key, value in planned.env.items() if not key.startswith("CUDA")
        }


def test_the_cpu_image_runs_like_a_cpu_server_of_batchline_up():
    """Flags and environment of the CPU image are those that `batchline up` plans."""
    options = ModelOptions(model="any", served_name=CPU_MODEL_NAME, logs=Path("/"))
    planned = plan_cpu_servers(options, 1, python=Path("python"))[0]
    image = text("Dockerfile").replace("\\\n", "").split("AS vllm-cpu\n")[1]
    argv = [
        word for array in re.findall(r"\[.*?\]", image, re.DOTALL) for word in json.loads(array)
    ]
    own_place = ("127.0.0.1", "8001", "any")

    assert set(planned.argv) - set(own_place) <= set(argv)
    for key, value in planned.env.items():
        assert f" {key}={value}" in image or not value, key


def test_the_installer_of_the_cpu_image_gets_the_modules_that_it_needs(tmp_path):
    """It is given few, so that a change elsewhere does not install 2.5 GB again."""
    stage = text("Dockerfile").split("AS vllm-cpu-build\n")[1].split("\nFROM ")[0]
    for sources, target in re.findall(r"^COPY (batchline.*) (\S+)$", stage, re.MULTILINE):
        for source in map(Path, sources.split()):
            copied = tmp_path / target / ("" if (ROOT / source).is_dir() else source.name)
            if (ROOT / source).is_dir():
                shutil.copytree(ROOT / source, copied, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                copied.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(ROOT / source, copied)
    (tmp_path / "batchline" / "__init__.py").touch()  # else an installed batchline is found instead
    code = "import batchline.fleet.cpu as m; print(m.__file__)"

    ran = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)

    assert ran.stdout.strip() == str(tmp_path / "batchline/fleet/cpu.py"), ran.stderr


def test_the_build_context_holds_what_the_images_are_made_of():
    """`.dockerignore` keeps all else out, and a folder that it forgets ends the build."""
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", text("Dockerfile"), re.MULTILINE)
    tops = {source.partition("/")[0] for sources in copied for source in sources.split()}

    assert tops == set(re.findall(r"^!(\S+)$", text(".dockerignore"), re.MULTILINE))


@every_file
def test_a_port_published_to_others_wants_a_key(name):
    """Inside their network the containers listen on every address: the host's port decides."""
    environment = {
        key: value
        for key, value in compose(name)["services"]["gateway"]["environment"].items()
        if value is not None
    }
    published = compose(name)["services"]["gateway"]["ports"]
    given = {key.removeprefix(PREFIX).lower(): value for key, value in environment.items()}

    check_exposure(Settings(_env_file=None, **given))
    with pytest.raises(Invalid, match=r"published on 0\.0\.0\.0 \(BATCHLINE_COMPOSE_BIND"):
        check_exposure(Settings(_env_file=None, **given | {"published_on": "0.0.0.0"}))

    assert published == ["127.0.0.1:5000:5000"]
    assert "${BATCHLINE_COMPOSE_BIND:-127.0.0.1}" in text(name).split("BATCHLINE_PUBLISHED_ON: ")[1]
    assert all(
        port.startswith("127.0.0.1:")
        for service in compose(name)["services"].values()
        for port in service.get("ports", [])
    )


@every_file
def test_our_processes_wait_for_no_server(name):
    """A server that loads for an hour must not keep the API down; order alone is no waiting."""
    services = compose(name)["services"]

    for service in ("gateway", "dispatcher"):
        assert services[service]["depends_on"] == ["nginx"]
    assert "depends_on" not in services["deliverer"]
    assert services["nginx"]["depends_on"] == list(servers(name))


@every_file
def test_our_processes_have_no_rights_they_do_not_need(name):
    """They run without root, capabilities or a writable image."""
    for service in OURS:
        spec = compose(name)["services"][service]
        assert spec["read_only"] is True
        assert spec["cap_drop"] == ["ALL"]
        assert spec["volumes"] == ["data:/data", "./handlers:/etc/batchline/handlers:ro"]
    assert re.search(r"^USER batchline$", text("Dockerfile"), re.MULTILINE)


def test_each_of_eight_servers_has_a_gpu_of_its_own():
    """Two servers on one GPU would run out of its memory."""
    devices = [
        spec["deploy"]["resources"]["reservations"]["devices"][0]["device_ids"]
        for spec in servers("docker-compose-8gpu.yml").values()
    ]

    assert devices == [[str(n)] for n in range(8)]


def test_the_one_server_may_be_given_several_gpus():
    """Tensor parallelism needs as many GPUs in sight as the variable names."""
    content = text("docker-compose.yml")
    device = servers("docker-compose.yml")["vllm-0"]["deploy"]["resources"]["reservations"][
        "devices"
    ][0]

    assert device == {"driver": "nvidia", "count": "all", "capabilities": ["gpu"]}
    assert "CUDA_VISIBLE_DEVICES: ${BATCHLINE_COMPOSE_GPUS:-0}" in content


@every_gpu_file
def test_the_servers_of_a_host_share_one_model_volume(name):
    """The weights are downloaded once for all servers."""
    assert "models" in compose(name)["volumes"]
    for spec in servers(name).values():
        assert "models:/models" in spec["volumes"]
        assert spec["environment"]["HF_HOME"] == "/models"


def test_what_the_files_have_in_common_is_equal():
    """Our processes and nginx are the same in each variant but for the list of servers."""
    first, *others = [without_the_servers(compose(name)["services"]) for name in SERVERS]

    for services in others:
        assert services == first


@every_file
@pytest.mark.skipif(not shutil.which("docker-compose"), reason="docker-compose is not installed")
def test_compose_itself_accepts_the_file(name):
    """docker-compose config reads the file with no variable set."""
    environment = {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/")}

    checked = subprocess.run(
        ["docker-compose", "-f", ROOT / name, "config", "-q"],
        env=environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert checked.returncode == 0, checked.stderr
