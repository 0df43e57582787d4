"""A certificate authority of the tests' own, made with openssl.

    ca = Authority()
    chain, key = ca.issue("localhost")         # paths of PEM files
    context = ca.client_context()              # trusts it, and nobody else

With all the extensions that a strict client asks for (Python 3.13 is one).
"""
import base64
import functools
import hashlib
import pathlib
import ssl
import subprocess
import tempfile

KEYS = {"ec": ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"],
        "rsa": ["-newkey", "rsa:2048"]}


def _openssl(*args):
    subprocess.run(["openssl", *args], check=True, capture_output=True,
                   stdin=subprocess.DEVNULL)


class Authority:
    def __init__(self):
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="moonwire-ca-"))
        self.cert = str(self.dir / "ca.pem")
        self._key = str(self.dir / "ca.key")
        self._count = 0
        _openssl("req", "-x509", *KEYS["ec"], "-nodes", "-days", "2",
                 "-subj", "/CN=moonwire tests",
                 "-addext", "keyUsage=critical,keyCertSign,cRLSign",
                 "-keyout", self._key, "-out", self.cert)

    @functools.lru_cache(maxsize=None)
    def issue(self, *names, key="ec", serial=0):
        """A chain and its key for these DNS names. serial: another number,
        another certificate."""
        self._count += 1
        base = str(self.dir / ("%d-%s" % (self._count, names[0].strip("*."))))
        csr, ext, out = base + ".csr", base + ".ext", base + ".pem"
        pathlib.Path(ext).write_text(
            "subjectAltName=%s,IP:127.0.0.1\n"
            "subjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid\n" %
            ",".join("DNS:" + n for n in names))
        _openssl("req", *KEYS[key], "-nodes", "-subj", "/CN=" + names[0],
                 "-keyout", base + ".key", "-out", csr)
        _openssl("x509", "-req", "-in", csr, "-CA", self.cert, "-CAkey",
                 self._key, "-days", "2", "-set_serial",
                 str(1000 + self._count + serial), "-extfile", ext,
                 "-out", out)
        return out, base + ".key"

    def fingerprint(self, chain):
        """Of its first certificate's public key, as browsers are told it."""
        pem = subprocess.run(["openssl", "x509", "-in", chain, "-noout",
                              "-pubkey"], check=True, capture_output=True)
        der = subprocess.run(["openssl", "pkey", "-pubin", "-outform", "der"],
                             input=pem.stdout, check=True, capture_output=True)
        return base64.b64encode(
            hashlib.sha256(der.stdout).digest()).decode()

    @functools.lru_cache(maxsize=None)
    def client_context(self):
        return ssl.create_default_context(cafile=self.cert)
