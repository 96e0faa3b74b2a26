"""TLS for AWS's names: API Gateway's go to the control plane, the registry's to the registry. And
an index of packages, and the control plane on podman's bridge, where functions call it.

Run as: account_front.py ADDRESS FOLDER-OF-CERTIFICATE BRIDGE CONTROL REGISTRY INDEX, three ports
"""

import asyncio
import socket
import ssl
import sys
from pathlib import Path

address, folder, bridge, control, registry, index = sys.argv[1:]
IP_FREEBIND = 15
names: dict[ssl.SSLObject, str] = {}


async def pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    except OSError:
        pass
    finally:
        writer.close()


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    name = names.pop(writer.get_extra_info("ssl_object"), "")
    port = registry if ".ecr." in name else index if name.startswith("index.") else control
    try:
        behind = await asyncio.open_connection("127.0.0.1", int(port))
    except OSError:
        writer.close()
        return
    await asyncio.gather(pipe(reader, behind[1]), pipe(behind[0], writer))


def remember(connection: ssl.SSLObject, name: str | None, _: ssl.SSLContext) -> None:
    names[connection] = name or ""


async def main() -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(Path(folder, "certificate.pem"), Path(folder, "key.pem"))
    context.sni_callback = remember
    server = await asyncio.start_server(serve, address, 443, ssl=context)
    # Podman makes the bridge with the first container.
    inside = socket.socket()
    inside.setsockopt(socket.SOL_IP, IP_FREEBIND, 1)
    inside.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    inside.bind((bridge, int(control)))
    within = await asyncio.start_server(serve, sock=inside)
    async with server, within:
        await server.serve_forever()


asyncio.run(main())
