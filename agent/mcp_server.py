"""The tools as a Model Context Protocol server over stdio: `einthoven mcp`, by the official `mcp` package.

An entry for a client's configuration: {"command": "einthoven", "args": ["mcp"]}. Where the chat hides files
behind ids, this server is run by the user's own client on the user's own files: a tool takes `file`, a path.
"""

from __future__ import annotations

import json
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

import anyio
from mcp import types
from mcp.server import Server
from mcp.server.stdio import stdio_server

from tools.errors import EinthovenError, UsageError
from tools.recording import read
from tools.registry import TOOLS, Tool, find

FILE = {
    "file": {"type": "string", "description": "path of a recording: WFDB, DICOM, XML, SCP-ECG, EDF, CSV, NPY, zip"},
    "fs_hz": {"type": "number", "description": "samples a second, for files that do not say"},
    "unit": {"type": "string", "description": "mV, uV, … for files that do not say"},
}


def schema(tool: Tool) -> dict[str, Any]:
    """JSON schema of a tool's arguments with the file it works on."""
    own = tool.schema()
    if not tool.kinds:
        return own
    needed = [] if tool.recording_optional else ["file"]
    return {**own, "properties": FILE | own["properties"], "required": needed + own.get("required", [])}


async def list_tools(_: Any, __: Any) -> types.ListToolsResult:
    tools = [types.Tool(name=one.name, description=one.purpose, input_schema=schema(one)) for one in TOOLS.values()]
    return types.ListToolsResult(tools=tools)


async def call_tool(_: Any, params: types.CallToolRequestParams) -> types.CallToolResult:
    try:
        result = await anyio.to_thread.run_sync(call, params.name, dict(params.arguments or {}))
    except EinthovenError as error:
        return types.CallToolResult(content=[types.TextContent(type="text", text=str(error))], is_error=True)
    text = json.dumps(result, ensure_ascii=False)
    return types.CallToolResult(content=[types.TextContent(type="text", text=text)], structured_content=result)


def call(name: str, arguments: dict[str, Any]) -> dict[str, Any]:
    """The JSON result of a tool on a file; figures and recordings go to a new temporary folder."""
    tool = find(name)
    file, fs_hz, unit = (arguments.pop(key, None) for key in FILE)
    recordings = read(file, fs_hz=fs_hz, unit=unit, kind=tool.reads) if file else [None]
    if len(recordings) > 1:
        raise UsageError(f"{Path(file).name} holds {len(recordings)} recordings; name one that holds one")
    return tool.run(recordings[0], arguments, Path(tempfile.mkdtemp(prefix="einthoven-")))


def run() -> None:
    if sys.stdin is None:
        raise UsageError("mcp speaks over standard input, which is closed")
    server: Server = Server("einthoven", version=version("einthoven"), on_list_tools=list_tools, on_call_tool=call_tool)

    async def serve() -> None:
        async with stdio_server() as (reading, writing):
            await server.run(reading, writing, server.create_initialization_options())

    anyio.run(serve)
