# SPDX-License-Identifier: Apache-2.0
"""The service units: what they must say, and how exposed systemd finds them."""
import configparser
import os
import plistlib
import re
import shutil
import subprocess
import sys

sys.dont_write_bytecode = True
import tap  # noqa: E402

UNITS = os.path.join(os.environ["TROUPE_SOURCE_DIR"], "scripts/units")
EXPOSURE_MAX = 2.0


def read_unit(name):
    """A unit's sections; a key given more than once keeps all its values, in order."""
    class Repeated(dict):
        def __setitem__(self, key, value):
            if isinstance(value, list) and key in self:
                self[key].extend(value)
            else:
                super().__setitem__(key, value)

    parser = configparser.RawConfigParser(dict_type=Repeated, strict=False)
    parser.optionxform = str
    with open(os.path.join(UNITS, name), encoding="utf-8") as file:
        parser.read_file(file)
    return parser


def check_service(name):
    unit = read_unit(name)
    service = unit["Service"]
    wanted = {"Type": "notify", "NotifyAccess": "main", "Restart": "always", "KillMode": "mixed"}
    for key, value in wanted.items():
        assert service.get(key) == value, f"{key}={service.get(key)}, wanted {value}"
    assert int(service["WatchdogSec"]) > 0
    assert re.match(r"/usr/bin/troupe up --foreground( |$)", service["ExecStart"])
    assert unit["Unit"]["StartLimitIntervalSec"] == "0", "systemd must not give up on the node"
    assert "WantedBy" in unit["Install"]


def test_the_system_unit_is_watched_and_restarted():
    check_service("troupe.service")


def test_the_user_unit_is_watched_and_restarted():
    check_service("troupe-user.service")


def exposure(unit):
    done = subprocess.run(["systemd-analyze", "security", "--no-pager", "--offline=true", unit],
                          capture_output=True, text=True)
    found = re.search(r"exposure level for \S+: ([0-9.]+)", done.stdout)
    assert found, done.stdout + done.stderr
    return float(found.group(1))


def test_the_system_unit_is_hardly_exposed():
    if not shutil.which("systemd-analyze"):
        raise tap.Skip("systemd-analyze is not installed")
    level = exposure(os.path.join(UNITS, "troupe.service"))
    print(f"# exposure {level}, at most {EXPOSURE_MAX}")
    assert level <= EXPOSURE_MAX, f"exposure {level}, at most {EXPOSURE_MAX}"


def test_systemd_understands_every_line():
    if not shutil.which("systemd-analyze"):
        raise tap.Skip("systemd-analyze is not installed")
    for name in ("troupe.service", "troupe-user.service"):
        done = subprocess.run(["systemd-analyze", "verify", "--man=no",
                               os.path.join(UNITS, name)], capture_output=True, text=True)
        # The binary need not be installed where the tests run; every other word is a finding.
        # Without a manager to ask, verify cannot start at all, and says so.
        said = [line for line in (done.stdout + done.stderr).splitlines()
                if name in line and "is not executable" not in line]
        assert not said, "\n".join(said)


def test_the_plist_is_one_launchd_takes():
    with open(os.path.join(UNITS, "org.troupe.node.plist"), "rb") as file:
        plist = plistlib.load(file)
    assert plist["Label"] == "org.troupe.node"
    assert plist["ProgramArguments"][1:3] == ["up", "--foreground"], plist["ProgramArguments"]
    assert plist["RunAtLoad"] is True and plist["KeepAlive"] == {"SuccessfulExit": False}
    # launchd kills after ExitTimeOut: a runner needs 30 s to end its streams.
    assert plist["ExitTimeOut"] >= 40 and plist["Umask"] == 0o077
    known = {"Label", "ProgramArguments", "RunAtLoad", "KeepAlive", "ThrottleInterval",
             "ExitTimeOut", "ProcessType", "Umask", "SoftResourceLimits", "StandardOutPath",
             "StandardErrorPath"}
    assert set(plist) <= known, set(plist) - known


if __name__ == "__main__":
    sys.exit(tap.run(sys.modules[__name__]))
