#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The speed of a vault in a bucket, beside other programs on the same server in one run.

    tests/bench/s3.py BUILD [--files 200] [--size 1500000] [--rounds 3] [--requests 32] [--port 7811]

A RADOS gateway is started on loopback (tests/s3/gateway.sh). The same files of random bytes, so that no codec's time
counts, go up and come down: with curl in parallel, with lethefs' transport alone (lethe-bench-store), through a mount of
lethefs, with rclone crypt, s3fs and s3ql where they are installed. Rounds go round the programs; medians, and ratios to
curl's, are printed as one JSON object. Absent programs are null.
"""
import argparse
import hashlib
import json
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent


def run(*command, **options):
    result = subprocess.run(command, stdout=subprocess.DEVNULL, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE,
                            text=True, **options)
    if result.returncode:
        raise RuntimeError(f"{command[0]} exited {result.returncode}: {result.stderr[-300:]}")


def timed(*actions):
    start = time.monotonic()
    for action in actions:
        action()
    return time.monotonic() - start


class Bench:
    def __init__(self, arguments, work):
        self.arguments, self.work = arguments, work
        self.build = pathlib.Path(arguments.build).resolve()
        self.files = work / "files"
        self.files.mkdir()
        for i in range(arguments.files):
            (self.files / f"{i:04}").write_bytes(os.urandom(arguments.size))
        self.endpoint = os.environ["AWS_ENDPOINT_URL"]
        self.bucket = os.environ["LETHE_S3_BUCKET"]
        self.keys = os.environ["AWS_ACCESS_KEY_ID"], os.environ["AWS_SECRET_ACCESS_KEY"]
        self.times = {}
        self.round = 0

    def note(self, name, direction, seconds):
        self.times.setdefault(name, {}).setdefault(direction, []).append(seconds)

    def same(self, folder):
        for file in sorted(self.files.iterdir()):
            got = hashlib.sha256((folder / file.name).read_bytes()).digest()
            if got != hashlib.sha256(file.read_bytes()).digest():
                sys.exit(f"{folder / file.name} differs")

    def curl(self):
        out = self.work / "curl"
        out.mkdir()
        common = ["curl", "-sS", "-f", "--no-progress-meter", "--parallel", "--parallel-max", str(self.arguments.requests), "--aws-sigv4",
                  "aws:amz:us-east-1:s3", "-u", ":".join(self.keys), "-H", "x-amz-content-sha256: UNSIGNED-PAYLOAD",
                  "--expect100-timeout", "0.001"]
        url = f"{self.endpoint}/{self.bucket}/curl-{self.round}"
        for direction, line in (("up", 'upload-file = "{file}"\nurl = "{url}/{name}"\n'),
                                ("down", 'url = "{url}/{name}"\noutput = "{out}/{name}"\n')):
            config = self.work / f"curl.{direction}"
            config.write_text("".join(line.format(file=file, url=url, out=out, name=file.name)
                                      for file in sorted(self.files.iterdir())))
            self.note("curl", direction, timed(lambda c=config: run(*common, "-K", str(c))))
        self.same(out)
        shutil.rmtree(out)

    def transport(self):
        for direction in ("up", "down"):
            command = [self.build / "lethe-bench-store", f"s3://{self.bucket}/store-{self.round}", self.files, direction,
                       str(self.arguments.requests)]
            result = subprocess.run(command, check=True, capture_output=True).stdout
            self.note("lethefs transport", direction, json.loads(result)["seconds"])

    def copy_in(self, target):
        for file in sorted(self.files.iterdir()):
            shutil.copyfile(file, target / file.name)

    def read_all(self, target):
        for file in sorted(self.files.iterdir()):
            (target / file.name).read_bytes()

    def lethefs(self):
        lethefs, mnt, vault = self.build / "lethefs", self.work / "mnt", f"s3://{self.bucket}/vault-{self.round}"
        passfile = self.work / "pass"
        passfile.write_text("secret")
        mnt.mkdir()
        run(lethefs, "init", vault, "--passfile", passfile, "--recovery-file", self.work / "recovery", "--kdf-mem", "16")
        mount = [lethefs, "mount", vault, mnt, "--passfile", passfile]
        run(*mount)
        self.note("lethefs mount", "up", timed(lambda: self.copy_in(mnt), lambda: run(lethefs, "sync", mnt)))
        run(lethefs, "umount", mnt, "--wait")
        shutil.rmtree(self.work / "cache")
        run(*mount)
        self.note("lethefs mount", "down", timed(lambda: self.read_all(mnt)))
        self.same(mnt)
        run(lethefs, "umount", mnt, "--wait")
        (self.work / "recovery").unlink()
        mnt.rmdir()

    def rclone(self):
        secret = subprocess.run(["rclone", "obscure", "secret"], check=True, capture_output=True, text=True).stdout.strip()
        config = self.work / "rclone.conf"
        config.write_text(f"[s]\ntype = s3\nprovider = Ceph\naccess_key_id = {self.keys[0]}\n"
                          f"secret_access_key = {self.keys[1]}\nendpoint = {self.endpoint}\n"
                          f"[c]\ntype = crypt\nremote = s:{self.bucket}/rclone-{self.round}\npassword = {secret}\n")
        command = ["rclone", "--config", config, "--transfers", str(self.arguments.requests), "--checkers", "32", "copy"]
        out = self.work / "rclone"
        environment = {key: value for key, value in os.environ.items() if not key.startswith("AWS_")}
        self.note("rclone crypt", "up", timed(lambda: run(*command, self.files, "c:", env=environment)))
        self.note("rclone crypt", "down", timed(lambda: run(*command, "c:", out, env=environment)))
        self.same(out)
        shutil.rmtree(out)

    def s3fs(self):
        mnt, secret = self.work / "s3fs", self.work / "s3fs.pass"
        secret.write_text(":".join(self.keys))
        secret.chmod(0o600)
        mnt.mkdir()
        mount = ["s3fs", self.bucket, mnt, "-o", f"passwd_file={secret},url={self.endpoint},use_path_request_style"]
        folder = mnt / f"s3fs-{self.round}"
        run(*mount)
        folder.mkdir()
        self.note("s3fs", "up", timed(lambda: self.copy_in(folder)))
        run("umount", mnt)
        run(*mount)
        self.note("s3fs", "down", timed(lambda: self.read_all(folder)))
        self.same(folder)
        run("umount", mnt)
        mnt.rmdir()

    def s3ql(self):
        host = self.endpoint.removeprefix("http://")
        url = f"s3c://{host}/{self.bucket}/s3ql-{self.round}"
        secret, cache, mnt = self.work / "s3ql.auth", self.work / "s3ql.cache", self.work / "s3ql"
        secret.write_text(f"[s3c]\nstorage-url: s3c://{host}\nbackend-login: {self.keys[0]}\n"
                          f"backend-password: {self.keys[1]}\nfs-passphrase: secret\n")
        secret.chmod(0o600)
        common = ["--authfile", secret, "--cachedir", cache, "--backend-options", "no-ssl", "--log", "none"]
        mnt.mkdir()
        run("mkfs.s3ql", *common, url)
        run("mount.s3ql", *common, "--compress", "none", url, mnt)
        self.note("s3ql", "up", timed(lambda: self.copy_in(mnt), lambda: run("s3qlctrl", "flushcache", mnt)))
        run("s3qlctrl", "dropcache", mnt)
        self.note("s3ql", "down", timed(lambda: self.read_all(mnt)))
        self.same(mnt)
        run("umount.s3ql", mnt)
        mnt.rmdir()
        shutil.rmtree(cache)

    def all(self):
        programs = [("curl", self.curl), ("lethefs transport", self.transport), ("lethefs mount", self.lethefs)]
        for name, command, action in (("rclone crypt", "rclone", self.rclone), ("s3fs", "s3fs", self.s3fs),
                                      ("s3ql", "mkfs.s3ql", self.s3ql)):
            if shutil.which(command):
                programs.append((name, action))
            else:
                self.times[name] = None
        broken = set()
        for self.round in range(self.arguments.rounds):
            for name, action in programs:
                if name in broken:
                    continue
                try:
                    action()
                except RuntimeError as error:
                    if name in ("curl", "lethefs transport", "lethefs mount"):
                        raise
                    print(f"{name}: {error}", file=sys.stderr)
                    self.times[name] = None
                    broken.add(name)
            for thing in self.work.iterdir():
                if thing.is_mount():
                    subprocess.run(["umount", "-l", thing], check=False)
        return self.report()

    def report(self):
        table = {}
        base = {d: statistics.median(s) for d, s in self.times["curl"].items()}
        for name, directions in self.times.items():
            table[name] = directions and {
                direction: {"seconds": round(statistics.median(seconds), 3), "all": [round(s, 3) for s in seconds],
                            "of_curl": round(statistics.median(seconds) / base[direction], 2)}
                for direction, seconds in directions.items()}
        return {"files": self.arguments.files, "bytes": self.arguments.files * self.arguments.size,
                "requests": self.arguments.requests, "rounds": self.arguments.rounds, "programs": table}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("build")
    for name, value in (("files", 200), ("size", 1500000), ("rounds", 3), ("requests", 32), ("port", 7811)):
        parser.add_argument("--" + name, type=int, default=value)
    arguments = parser.parse_args()
    if "LETHE_S3_BUCKET" not in os.environ:  # run again, inside a gateway
        with tempfile.TemporaryDirectory(prefix="lethe-bench") as folder:
            script = ('. "$1"; gateway_missing && exit 77; trap "gateway_stop $2" EXIT; gateway_start "$2" "$3"; '
                      'shift 3; "$@"')
            sys.exit(subprocess.run(["bash", "-c", script, "bash", HERE.parent / "s3" / "gateway.sh", folder,
                                     str(arguments.port), sys.executable, *sys.argv]).returncode)
    with tempfile.TemporaryDirectory(prefix="lethe-bench") as folder:
        work = pathlib.Path(folder)
        os.environ["XDG_STATE_HOME"], os.environ["XDG_CACHE_HOME"] = str(work / "state"), str(work / "cache")
        print(json.dumps(Bench(arguments, work).all(), indent=1))


main()
