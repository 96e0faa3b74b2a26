import ssl
import subprocess
from pathlib import Path


def certificate(folder: Path, *names: str) -> ssl.SSLContext:
    """A server's certificate that nobody trusts, at `folder`/certificate.pem."""
    key = folder / "key.pem"
    file = folder / "certificate.pem"
    command = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-days",
        "1",
        "-subj",
        f"/CN={names[0]}",
    ]
    alternatives = ",".join(f"DNS:{name}" for name in names)
    extension = [
        "-addext",
        f"subjectAltName={alternatives}",
        "-keyout",
        str(key),
        "-out",
        str(file),
    ]
    subprocess.run([*command, *extension], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file, key)
    return context
