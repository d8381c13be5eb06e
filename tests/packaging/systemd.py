"""The unit's service: its command in its environment, with the credentials that an operator gives it."""

import json
import pathlib

import files
import processes


def check(binary: pathlib.Path, work: pathlib.Path) -> None:
    unit = files.unit()
    credentials, state = work / "credentials", work / "state"
    credentials.mkdir()
    state.mkdir()
    keys = processes.Program(binary, {}, work).output("keys", "new-root")
    given = {"root-keys": keys, "database-url": f"sqlite:{state / 'countersign.db'}\n"}
    for credential in unit["LoadCredential"]:
        name, path = credential.split(":")
        assert path == f"/etc/countersign/{name}", f"README says that {name} is elsewhere"
        (credentials / name).write_text(given.pop(name), encoding="utf-8")
    assert not given, f"the unit loads no {list(given)}"

    environment = dict(line.replace("%d", str(credentials)).split("=", 1) for line in unit["Environment"])
    program = processes.Program(binary, environment, state)
    settings = program.settings()
    end = files.seconds(settings["shutdown-delay"]) + files.seconds(settings["shutdown-timeout"])
    (stop,) = unit["TimeoutStopSec"]
    assert files.seconds(stop) > end + 2, "systemd kills the service before its end"

    (start,) = unit["ExecStart"]
    entry, *arguments = start.split()
    assert entry == "/usr/local/bin/countersign"
    with program.serving(*arguments) as service:
        service.healthcheck("healthcheck")
        made = program.output("client", "create", "--name", "Unit", "--output", "json")
        service.sign_ins(json.loads(made)["authorization"])
        service.stop("SIGTERM", files.seconds(stop))
    wrong = processes.Program(binary, environment | {"COUNTERSIGN_ISSUER": "none"}, state)
    wrong.refusal(int(unit["RestartPreventExitStatus"][0]), *arguments)
    print("countersign.service: served with its settings, and ended in time")
