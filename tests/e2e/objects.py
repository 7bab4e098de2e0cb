# SPDX-License-Identifier: MIT
"""The objects of a vault, as somebody sees them who has the store and nothing else: a folder, or a bucket on an S3
server (AWS_ENDPOINT_URL and its companions in the environment).

usage: objects.py VAULT list [PREFIX]
       objects.py VAULT get|put KEY FILE
       objects.py VAULT remove KEY...
       objects.py VAULT flip KEY OFFSET|middle
       objects.py VAULT cut KEY            its last byte
       objects.py VAULT swap KEY KEY
       objects.py VAULT save|restore FOLDER    all of them, to or from a plain folder

In a folder, head and vault.json are numbered files: the keys head and vault.json stand for the newest.
"""
import hashlib
import hmac
import http.client
import os
import re
import shutil
import sys
import time
import urllib.parse


class Folder:
    def __init__(self, path):
        self.path = path

    def keys(self, prefix=""):
        found = [os.path.relpath(os.path.join(at, name), self.path)
                 for at, _, names in os.walk(self.path) for name in names]
        return sorted(key for key in found if key.startswith(prefix) and not key.startswith("tmp/"))

    def where(self, key):
        if key in ("head", "vault.json"):
            versions = [k for k in self.keys(key + ".") if "/" not in k]
            key = max(versions, default=key)
        return os.path.join(self.path, key)

    def get(self, key):
        with open(self.where(key), "rb") as f:
            return f.read()

    def put(self, key, data):
        """As an attacker of the folder would: the linked twin of a versioned file is another file."""
        path = self.where(key)
        if os.path.exists(path):
            os.unlink(path)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as f:
            f.write(data)

    def remove(self, key):
        os.unlink(os.path.join(self.path, key))

    def save(self, folder):
        shutil.copytree(self.path, folder)

    def restore(self, folder):
        shutil.rmtree(self.path, ignore_errors=True)
        shutil.copytree(folder, self.path)


class Bucket:
    def __init__(self, location):
        self.bucket, _, prefix = location.removeprefix("s3://").partition("/")
        self.prefix = prefix.strip("/") + "/" if prefix else ""
        endpoint = urllib.parse.urlsplit(os.environ["AWS_ENDPOINT_URL"])
        self.host = endpoint.netloc
        self.region = os.environ.get("AWS_REGION", "us-east-1")
        self.line = http.client.HTTPConnection(endpoint.netloc, timeout=60)

    def ask(self, method, key, body=b"", query=""):
        """Signature V4 of a request whose body is not signed."""
        path = urllib.parse.quote(f"/{self.bucket}/{key}" if key else f"/{self.bucket}")
        now = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
        scope = f"{now[:8]}/{self.region}/s3/aws4_request"
        headers = {"host": self.host, "x-amz-content-sha256": "UNSIGNED-PAYLOAD", "x-amz-date": now}
        names = ";".join(headers)
        canonical = "\n".join([method, path, query, *(f"{n}:{v}" for n, v in headers.items()), "", names,
                               "UNSIGNED-PAYLOAD"])
        text = "\n".join(["AWS4-HMAC-SHA256", now, scope, hashlib.sha256(canonical.encode()).hexdigest()])
        sign = ("AWS4" + os.environ["AWS_SECRET_ACCESS_KEY"]).encode()
        for part in (*scope.split("/"), text):
            sign = hmac.new(sign, part.encode(), hashlib.sha256).digest()
        headers["authorization"] = (f"AWS4-HMAC-SHA256 Credential={os.environ['AWS_ACCESS_KEY_ID']}/{scope}, "
                                    f"SignedHeaders={names}, Signature={sign.hex()}")
        self.line.request(method, path + ("?" + query if query else ""), body or None, headers)
        answer = self.line.getresponse()
        data = answer.read()
        if answer.status >= 300:
            raise FileNotFoundError(f"{method} {key}: {answer.status} {data[:300]!r}")
        return data

    def keys(self, prefix=""):
        found, after = [], ""
        while True:
            wanted = {"list-type": "2", "prefix": self.prefix + prefix, "start-after": after}
            query = "&".join(f"{n}={urllib.parse.quote(v, safe='')}" for n, v in sorted(wanted.items()) if v)
            page = re.findall(r"<Key>([^<]*)</Key>", self.ask("GET", "", query=query).decode())
            if not page:
                return sorted(k for k in found if not k.startswith("tmp/"))
            found += [key.removeprefix(self.prefix) for key in page]
            after = page[-1]

    def get(self, key):
        return self.ask("GET", self.prefix + key)

    def put(self, key, data):
        self.ask("PUT", self.prefix + key, data)

    def remove(self, key):
        self.ask("DELETE", self.prefix + key)

    def save(self, folder):
        os.makedirs(folder)
        for key in self.keys():
            Folder(folder).put(key, self.get(key))

    def restore(self, folder):
        good = Folder(folder).keys()
        for key in set(self.keys()) - set(good):
            self.remove(key)
        for key in good:
            self.put(key, Folder(folder).get(key))


def vault(location):
    return Bucket(location) if location.startswith("s3://") else Folder(location.removeprefix("file://"))


def main():
    what, rest = sys.argv[2], sys.argv[3:]
    objects = vault(sys.argv[1])
    if what == "list":
        for key in objects.keys(*rest):
            print(key)
    elif what == "get":
        with open(rest[1], "wb") as f:
            f.write(objects.get(rest[0]))
    elif what == "put":
        with open(rest[1], "rb") as f:
            objects.put(rest[0], f.read())
    elif what == "remove":
        for key in rest:
            objects.remove(key)
    elif what == "flip":
        data = bytearray(objects.get(rest[0]))
        data[len(data) // 2 if rest[1] == "middle" else int(rest[1])] ^= 1
        objects.put(rest[0], bytes(data))
    elif what == "cut":
        objects.put(rest[0], objects.get(rest[0])[:-1])
    elif what == "swap":
        a, b = objects.get(rest[0]), objects.get(rest[1])
        objects.put(rest[0], b)
        objects.put(rest[1], a)
    elif what == "save":
        objects.save(*rest)
    elif what == "restore":
        objects.restore(*rest)
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    main()
