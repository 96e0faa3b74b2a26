"""TLS for AWS's names: API Gateway's go to the control plane, all others to the registry.

Run as: account_front.py ADDRESS FOLDER-OF-CERTIFICATE CONTROL-PORT REGISTRY-PORT
"""

import asyncio
import ssl
import sys
from pathlib import Path

address, folder, control, registry = sys.argv[1:]
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
    port = control if ".execute-api." in name else registry
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
    async with server:
        await server.serve_forever()


asyncio.run(main())
