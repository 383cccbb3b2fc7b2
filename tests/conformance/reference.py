"""The tool server that the conformance kits expect, in both protocol eras, built with the `mcp` SDK.

The kits name what must be there: tools, resources and prompts with given names, inputs and answers. Nothing here is the
gateway's: the kits are run against this server directly and through the gateway, and the two must come out the same.
"""

from __future__ import annotations

import asyncio
import json
import warnings
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import mcp_types as types
from mcp.server.caching import CacheHint
from mcp.server.lowlevel import Server
from mcp.server.request_state import RequestStateBoundary, RequestStateSecurity
from mcp.server.streamable_http import EventCallback, EventMessage, EventStore
from mcp.server.subscriptions import InMemorySubscriptionBus, ListenHandler
from mcp.shared.exceptions import MCPDeprecationWarning, MCPError
from mcp.shared.subscriptions import PromptsListChanged, ToolsListChanged
from starlette.types import ASGIApp

__all__ = ["TOOLS", "Reference"]

_PIXEL: Final = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8DwHwAFBQIAX8jx0gAAAABJRU5ErkJggg=="  # one pixel
)
_SILENCE: Final = "UklGRiYAAABXQVZFZm10IBAAAAABAAEAQB8AAAB9AAACABAAZGF0YQIAAAA="
_IMAGE: Final = {"type": "image", "data": _PIXEL, "mimeType": "image/png"}

Handler = Callable[[Any, types.CallToolRequestParams], Awaitable[dict[str, Any]]]


@dataclass(frozen=True, slots=True)
class Offered:
    """A tool: its definition on the wire, and what it does."""

    definition: Mapping[str, Any]
    answer: Handler


TOOLS: Final[dict[str, Offered]] = {}


def _tool(name: str, description: str, schema: Mapping[str, Any] | None = None) -> Callable[[Handler], Handler]:
    def add(handler: Handler) -> Handler:
        given = schema or {"type": "object", "properties": {}, "additionalProperties": False}
        TOOLS[name] = Offered({"name": name, "description": description, "inputSchema": given}, handler)
        return handler

    return add


def _one(name: str, kind: str, **more: Any) -> dict[str, Any]:
    return {"type": "object", "properties": {name: {"type": kind, **more}}, "required": [name]}


def _text(*texts: str) -> dict[str, Any]:
    return {"content": [{"type": "text", "text": text} for text in texts]}


# -- contents


@_tool("test_simple_text", "Answers with one text.")
async def _simple_text(ctx: Any, params: types.CallToolRequestParams) -> dict[str, Any]:
    return _text("This is a simple text response for testing.")


@_tool("test_image_content", "Answers with an image.")
async def _image(ctx: Any, params: types.CallToolRequestParams) -> dict[str, Any]:
    return {"content": [_IMAGE]}


@_tool("test_audio_content", "Answers with a sound.")
async def _audio(ctx: Any, params: types.CallToolRequestParams) -> dict[str, Any]:
    return {"content": [{"type": "audio", "data": _SILENCE, "mimeType": "audio/wav"}]}


def _embedded(uri: str, kind: str, text: str) -> dict[str, Any]:
    return {"type": "resource", "resource": {"uri": uri, "mimeType": kind, "text": text}}


@_tool("test_embedded_resource", "Answers with a resource inside.")
async def _embedded_resource(ctx: Any, params: types.CallToolRequestParams) -> dict[str, Any]:
    return {"content": [_embedded("test://embedded-resource", "text/plain", "This is an embedded resource content.")]}


@_tool("test_multiple_content_types", "Answers with a text, an image and a resource.")
async def _mixed(ctx: Any, params: types.CallToolRequestParams) -> dict[str, Any]:
    data = json.dumps({"test": "data", "value": 123})
    first = {"type": "text", "text": "Multiple content types test:"}
    return {"content": [first, _IMAGE, _embedded("test://mixed-content-resource", "application/json", data)]}


@_tool("test_error_handling", "Fails.")
async def _failing(ctx: Any, params: types.CallToolRequestParams) -> dict[str, Any]:
    return {**_text("This tool intentionally returns an error for testing"), "isError": True}


_JSON_SCHEMA_2020_12: Final = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "$defs": {
        "address": {
            "$anchor": "addressDef",
            "type": "object",
            "properties": {"street": {"type": "string"}, "city": {"type": "string"}},
        }
    },
    "properties": {
        "name": {"type": "string"},
        "address": {"$ref": "#/$defs/address"},
        "contactMethod": {"type": "string", "enum": ["phone", "email"]},
        "phone": {"type": "string"},
        "email": {"type": "string"},
    },
    "allOf": [{"anyOf": [{"required": ["phone"]}, {"required": ["email"]}]}],
    "if": {"properties": {"contactMethod": {"const": "phone"}}, "required": ["contactMethod"]},
    "then": {"required": ["phone"]},
    "else": {"required": ["email"]},
    "additionalProperties": False,
}


@_tool("json_schema_2020_12_tool", "Has a schema with keywords of 2020-12.", _JSON_SCHEMA_2020_12)
async def _schema_tool(ctx: Any, params: types.CallToolRequestParams) -> dict[str, Any]:
    return _text(f"called with: {json.dumps(params.arguments or {})}")


_REGION: Final = {
    "type": "object",
    "properties": {"region": {"type": "string", "x-mcp-header": "Region"}, "rows": {"type": "integer"}},
    "required": ["region"],
}


@_tool("test_mirrored_argument", "Has an argument that a header repeats.", _REGION)
async def _mirrored(ctx: Any, params: types.CallToolRequestParams) -> dict[str, Any]:
    return _text(f"region {(params.arguments or {}).get('region')}")


# -- what the scenarios of the tasks extension call; this server has not that extension, so each call is an ordinary one


@_tool("greet", "Greets.", _one("name", "string"))
async def _greet(ctx: Any, params: types.CallToolRequestParams) -> dict[str, Any]:
    return _text(f"Hello, {(params.arguments or {})['name']}!")


@_tool("slow_compute", "Takes its time.", {**_one("seconds", "number"), "required": []})
async def _slow(ctx: Any, params: types.CallToolRequestParams) -> dict[str, Any]:
    return _text("42")


# -- while a call runs


@_tool("test_tool_with_logging", "Writes three notes while it runs.")
async def _logging(ctx: Any, params: types.CallToolRequestParams) -> dict[str, Any]:
    for note in ("Tool execution started", "Tool processing data", "Tool execution completed"):
        await _note(ctx, note)
        await asyncio.sleep(0.05)
    return _text("Tool with logging executed successfully")


@_tool("test_logging_tool", "Writes a note if the request asked for notes.")
async def _logging_once(ctx: Any, params: types.CallToolRequestParams) -> dict[str, Any]:
    await _note(ctx, "noted")
    return _text("Logging evaluated")


async def _note(ctx: Any, text: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MCPDeprecationWarning)
        await ctx.session.send_log_message("info", text, related_request_id=ctx.request_id)


@_tool("test_tool_with_progress", "Reports progress three times.")
async def _progress(ctx: Any, params: types.CallToolRequestParams) -> dict[str, Any]:
    for step in (0, 50, 100):
        await ctx.session.report_progress(step, 100, f"Completed step {step} of 100")
        await asyncio.sleep(0.05)
    return _text("done")


@_tool("test_streaming_elicitation", "Answers as a stream.")
async def _streaming(ctx: Any, params: types.CallToolRequestParams) -> dict[str, Any]:
    await ctx.session.report_progress(50, 100, "half way")
    return _text("Streaming complete")


@_tool("test_reconnection", "Drops its stream and answers on the next one.")
async def _reconnection(ctx: Any, params: types.CallToolRequestParams) -> dict[str, Any]:
    if ctx.close_sse_stream is not None:
        await ctx.close_sse_stream()
    await asyncio.sleep(0.1)
    return _text("Reconnection test completed successfully.")


# -- the server asks (era of sessions)


@_tool("test_sampling", "Asks the client's model.", _one("prompt", "string"))
async def _sampling(ctx: Any, params: types.CallToolRequestParams) -> dict[str, Any]:
    said = types.TextContent(type="text", text=str((params.arguments or {})["prompt"]))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MCPDeprecationWarning)
        made = await ctx.session.create_message(
            [types.SamplingMessage(role="user", content=said)], max_tokens=100, related_request_id=ctx.request_id
        )
    return _text(f"LLM response: {getattr(made.content, 'text', '')}")


async def _elicited(ctx: Any, message: str, schema: Mapping[str, Any]) -> dict[str, Any]:
    answer = await ctx.session.elicit_form(message, schema, related_request_id=ctx.request_id)
    return _text(f"Elicitation completed: action={answer.action}, content={json.dumps(answer.content or {})}")


@_tool("test_elicitation", "Asks the user.", _one("message", "string"))
async def _elicitation(ctx: Any, params: types.CallToolRequestParams) -> dict[str, Any]:
    return await _elicited(ctx, str((params.arguments or {})["message"]), _one("response", "string"))


@_tool("test_elicitation_sep1034_defaults", "Asks the user, with defaults.")
async def _elicitation_defaults(ctx: Any, params: types.CallToolRequestParams) -> dict[str, Any]:
    properties = {
        "name": {"type": "string", "default": "John Doe"},
        "age": {"type": "integer", "default": 30},
        "score": {"type": "number", "default": 95.5},
        "status": {"type": "string", "enum": ["active", "inactive", "pending"], "default": "active"},
        "verified": {"type": "boolean", "default": True},
    }
    return await _elicited(ctx, "Please review the fields", {"type": "object", "properties": properties})


@_tool("test_elicitation_sep1330_enums", "Asks the user to choose.")
async def _elicitation_enums(ctx: Any, params: types.CallToolRequestParams) -> dict[str, Any]:
    plain = ["option1", "option2", "option3"]
    titled = [{"const": f"value{n}", "title": title} for n, title in enumerate(("First", "Second", "Third"), 1)]
    properties = {
        "untitledSingle": {"type": "string", "enum": plain},
        "titledSingle": {"type": "string", "oneOf": titled},
        "legacyEnum": {"type": "string", "enum": ["opt1", "opt2"], "enumNames": ["Option One", "Option Two"]},
        "untitledMulti": {"type": "array", "minItems": 1, "maxItems": 3, "items": {"type": "string", "enum": plain}},
        "titledMulti": {"type": "array", "minItems": 1, "maxItems": 3, "items": {"anyOf": titled}},
    }
    return await _elicited(ctx, "Please select options", {"type": "object", "properties": properties})


# -- the server asks (2026-07-28): a result that names what is missing, and the call again with it


def _asks(field: str, message: str, kind: str = "string") -> dict[str, Any]:
    return {
        "method": "elicitation/create",
        "params": {"mode": "form", "message": message, "requestedSchema": _one(field, kind)},
    }


def _asks_model(text: str) -> dict[str, Any]:
    message = {"role": "user", "content": {"type": "text", "text": text}}
    return {"method": "sampling/createMessage", "params": {"messages": [message], "maxTokens": 100}}


_ASKS_ROOTS: Final = {"method": "roots/list", "params": {}}


def _input_required(requests: Mapping[str, Any], state: Any = None) -> dict[str, Any]:
    result: dict[str, Any] = {"resultType": "input_required", "inputRequests": dict(requests)}
    return result if state is None else result | {"requestState": json.dumps(state)}


def _given(params: Any, key: str, kind: type) -> Any:
    """What the client answered under that key, if it is what was asked for."""
    answer = (params.input_responses or {}).get(key)
    return answer if isinstance(answer, kind) else None


def _filled(params: Any, key: str, field: str) -> Any:
    answer = _given(params, key, types.ElicitResult)
    return (answer.content or {}).get(field) if answer is not None and answer.action == "accept" else None


def _state(params: Any) -> dict[str, Any]:
    known = json.loads(params.request_state) if params.request_state else {}
    return known if isinstance(known, dict) else {}


@_tool("test_input_required_result_elicitation", "Needs the user's name.")
async def _needs_user(ctx: Any, params: types.CallToolRequestParams) -> dict[str, Any]:
    if (name := _filled(params, "user_name", "name")) is None:
        return _input_required({"user_name": _asks("name", "What is your name?")})
    return _text(f"Hello, {name}!")


@_tool("test_input_required_result_sampling", "Needs the client's model.")
async def _needs_model(ctx: Any, params: types.CallToolRequestParams) -> dict[str, Any]:
    made = _given(params, "sample_request", types.CreateMessageResult)
    if made is None:
        return _input_required({"sample_request": _asks_model("What is the capital of France?")})
    return _text(f"Sampling result: {getattr(made.content, 'text', '')}")


@_tool("test_input_required_result_list_roots", "Needs the client's roots.")
async def _needs_roots(ctx: Any, params: types.CallToolRequestParams) -> dict[str, Any]:
    roots = _given(params, "roots_request", types.ListRootsResult)
    if roots is None:
        return _input_required({"roots_request": _ASKS_ROOTS})
    return _text(f"Found {len(roots.roots)} root(s)")


@_tool("test_input_required_result_request_state", "Keeps its state with the client.")
async def _keeps_state(ctx: Any, params: types.CallToolRequestParams) -> dict[str, Any]:
    if _state(params).get("kind") == "request-state" and _filled(params, "confirm", "ok") is True:
        return _text("state-ok: requestState validated")
    return _input_required({"confirm": _asks("ok", "Please confirm", "boolean")}, {"kind": "request-state"})


@_tool("test_input_required_result_tampered_state", "Refuses a state that is not its own.")
async def _sealed_state(ctx: Any, params: types.CallToolRequestParams) -> dict[str, Any]:
    if _state(params).get("kind") == "tamper-test" and _filled(params, "confirm", "ok") is not None:
        return _text("integrity-ok: state verified")
    return _input_required({"confirm": _asks("ok", "Please confirm", "boolean")}, {"kind": "tamper-test"})


@_tool("test_input_required_result_multiple_inputs", "Needs three things at once.")
async def _needs_all(ctx: Any, params: types.CallToolRequestParams) -> dict[str, Any]:
    name = _filled(params, "user_name", "name")
    greeting = _given(params, "greeting", types.CreateMessageResult)
    roots = _given(params, "client_roots", types.ListRootsResult)
    if name is None or greeting is None or roots is None or _state(params).get("kind") != "multiple-inputs":
        asked = {
            "user_name": _asks("name", "What is your name?"),
            "greeting": _asks_model("Generate a greeting"),
            "client_roots": _ASKS_ROOTS,
        }
        return _input_required(asked, {"kind": "multiple-inputs"})
    return _text(f"Name: {name}; Greeting: {getattr(greeting.content, 'text', '')}; Roots: {len(roots.roots)}")


@_tool("test_input_required_result_multi_round", "Asks twice.")
async def _asks_twice(ctx: Any, params: types.CallToolRequestParams) -> dict[str, Any]:
    state = _state(params)
    if state.get("round") == 1 and (name := _filled(params, "step1", "name")) is not None:
        return _input_required(
            {"step2": _asks("color", "Step 2: What is your favorite color?")}, {"round": 2, "name": name}
        )
    if state.get("round") == 2 and (color := _filled(params, "step2", "color")) is not None:
        return _text(f"Multi-round complete for {state['name']} who likes {color}")
    return _input_required({"step1": _asks("name", "Step 1: What is your name?")}, {"round": 1})


def _can(ctx: Any, capability: str) -> bool:
    declared = ctx.session.client_capabilities
    return declared is not None and getattr(declared, capability) is not None


@_tool("test_input_required_result_capabilities", "Asks only for what the client can do.")
async def _asks_the_able(ctx: Any, params: types.CallToolRequestParams) -> dict[str, Any]:
    if params.input_responses:
        return _text(f"capabilities-ok: received {', '.join(params.input_responses)}")
    asked = {
        **({"elicit_input": _asks("value", "Elicitation input")} if _can(ctx, "elicitation") else {}),
        **({"sample_input": _asks_model("Sample request")} if _can(ctx, "sampling") else {}),
    }
    return _input_required(asked, {"kind": "capabilities"}) if asked else _text("No supported capabilities declared")


@_tool("test_missing_capability", "Needs a client with a model.")
async def _needs_capability(ctx: Any, params: types.CallToolRequestParams) -> dict[str, Any]:
    if not _can(ctx, "sampling"):
        raise MCPError(
            types.MISSING_REQUIRED_CLIENT_CAPABILITY,
            "the client did not declare `sampling`",
            {"requiredCapabilities": {"sampling": {}}},
        )
    return _text("Success")


# -- what changes for those who listen

_BUS: Final = InMemorySubscriptionBus()


@_tool("test_trigger_tool_change", "Says that the list of tools has changed.")
async def _tools_changed(ctx: Any, params: types.CallToolRequestParams) -> dict[str, Any]:
    await _BUS.publish(ToolsListChanged())
    return _text("Mutation triggered")


@_tool("test_trigger_prompt_change", "Says that the list of prompts has changed.")
async def _prompts_changed(ctx: Any, params: types.CallToolRequestParams) -> dict[str, Any]:
    await _BUS.publish(PromptsListChanged())
    return _text("Mutation triggered")


# -- resources and prompts

_RESOURCES: Final[Mapping[str, Mapping[str, str]]] = {
    "test://static-text": {"mimeType": "text/plain", "text": "This is the content of the static text resource."},
    "test://static-binary": {"mimeType": "image/png", "blob": _PIXEL},
    "test://watched-resource": {"mimeType": "text/plain", "text": "Watched resource content"},
}
_TEMPLATE: Final = ("test://template/", "/data")
_PROMPTS: Final[Mapping[str, tuple[str, ...]]] = {
    "test_simple_prompt": (),
    "test_prompt_with_arguments": ("arg1", "arg2"),
    "test_prompt_with_embedded_resource": ("resourceUri",),
    "test_prompt_with_image": (),
    "test_input_required_result_prompt": (),
}


async def _list_resources(ctx: Any, params: Any) -> Any:
    listed = [{"uri": uri, "name": uri[7:], "mimeType": each["mimeType"]} for uri, each in _RESOURCES.items()]
    return types.ListResourcesResult.model_validate({"resources": listed})


async def _list_templates(ctx: Any, params: Any) -> Any:
    template = {"uriTemplate": "{id}".join(_TEMPLATE), "name": "template", "mimeType": "application/json"}
    return types.ListResourceTemplatesResult.model_validate({"resourceTemplates": [template]})


async def _read_resource(ctx: Any, params: types.ReadResourceRequestParams) -> Any:
    uri = str(params.uri)
    start, end = _TEMPLATE
    if uri.startswith(start) and uri.endswith(end):
        own = uri.removeprefix(start).removesuffix(end)
        text = json.dumps({"id": own, "templateTest": True, "data": f"Data for ID: {own}"})
        content: Mapping[str, str] = {"mimeType": "application/json", "text": text}
    elif (found := _RESOURCES.get(uri)) is not None:
        content = found
    else:
        raise MCPError(types.INVALID_PARAMS, "resource not found", {"uri": uri})
    return types.ReadResourceResult.model_validate({"contents": [{"uri": uri, **content}]})


async def _list_prompts(ctx: Any, params: Any) -> Any:
    listed = [
        {
            "name": name,
            "description": f"The prompt {name}.",
            "arguments": [{"name": a, "required": True} for a in given],
        }
        for name, given in _PROMPTS.items()
    ]
    return types.ListPromptsResult.model_validate({"prompts": listed})


async def _get_prompt(ctx: Any, params: types.GetPromptRequestParams) -> Any:
    given = params.arguments or {}
    missing = [name for name in _PROMPTS.get(params.name, ()) if name not in given]
    if params.name not in _PROMPTS or missing:
        raise MCPError(types.INVALID_PARAMS, f"unknown prompt, or arguments missing: {missing}")
    contents: list[Mapping[str, Any]]
    match params.name:
        case "test_prompt_with_arguments":
            text = f"Prompt with arguments: arg1='{given['arg1']}', arg2='{given['arg2']}'"
            contents = [{"type": "text", "text": text}]
        case "test_prompt_with_embedded_resource":
            contents = [
                _embedded(given["resourceUri"], "text/plain", "Embedded resource content for testing."),
                {"type": "text", "text": "Please process the embedded resource above."},
            ]
        case "test_prompt_with_image":
            contents = [_IMAGE, {"type": "text", "text": "Please analyze the image above."}]
        case "test_input_required_result_prompt":
            if (context := _filled(params, "user_context", "context")) is None:
                asked = {"user_context": _asks("context", "What context should the prompt use?")}
                return types.InputRequiredResult.model_validate(_input_required(asked))
            contents = [{"type": "text", "text": f"Prompt with context: {context}"}]
        case _:
            contents = [{"type": "text", "text": "This is a simple prompt for testing."}]
    return types.GetPromptResult.model_validate({"messages": [{"role": "user", "content": one} for one in contents]})


async def _complete(ctx: Any, params: types.CompleteRequestParams) -> Any:
    values = [one for one in ("paris", "park", "party") if one.startswith(params.argument.value)]
    return types.CompleteResult(completion=types.Completion(values=values, total=len(values), has_more=False))


async def _nothing(ctx: Any, params: Any) -> types.EmptyResult:
    return types.EmptyResult()


class _Events(EventStore):
    """What was sent on each stream, so that a client that comes back gets the rest."""

    def __init__(self) -> None:
        self._sent: list[tuple[str, types.JSONRPCMessage | None]] = []

    async def store_event(self, stream_id: str, message: types.JSONRPCMessage | None) -> str:
        self._sent.append((stream_id, message))
        return str(len(self._sent) - 1)

    async def replay_events_after(self, last_event_id: str, send_callback: EventCallback) -> str | None:
        if not last_event_id.isdecimal() or int(last_event_id) >= len(self._sent):
            return None
        stream, _ = self._sent[int(last_event_id)]
        for number, (of, message) in enumerate(self._sent):
            if number > int(last_event_id) and of == stream and message is not None:
                await send_callback(EventMessage(message, str(number)))
        return stream


class Reference:
    """The server: an ASGI app with a lifespan, its one endpoint `/mcp`."""

    def __init__(self) -> None:
        self.calls = 0
        """How many calls of tools reached it."""
        hints: Any = {
            method: CacheHint(ttl_ms=300_000, scope="public")
            for method in ("tools/list", "prompts/list", "resources/list", "resources/templates/list")
        }
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", MCPDeprecationWarning)
            self._server: Server[Any] = Server(
                "conformance-reference",
                version="1.0",
                cache_hints={**hints, "resources/read": CacheHint(ttl_ms=300_000)},
                get_tool_input_schema=lambda name: TOOLS[name].definition["inputSchema"] if name in TOOLS else None,
                on_list_tools=self._list_tools,
                on_call_tool=self._call_tool,
                on_list_resources=_list_resources,
                on_list_resource_templates=_list_templates,
                on_read_resource=_read_resource,
                on_subscribe_resource=_nothing,
                on_unsubscribe_resource=_nothing,
                on_subscriptions_listen=ListenHandler(_BUS),
                on_list_prompts=_list_prompts,
                on_get_prompt=_get_prompt,
                on_completion=_complete,
                on_set_logging_level=_nothing,
            )
        self._server.middleware.append(RequestStateBoundary(RequestStateSecurity.ephemeral(), default_audience=None))

    def app(self) -> ASGIApp:
        """Made anew for each run: the SDK's app serves one lifespan."""
        return self._server.streamable_http_app(event_store=_Events(), retry_interval=500)

    async def _list_tools(self, ctx: Any, params: Any) -> Any:
        listed = [offered.definition for offered in TOOLS.values()]
        return types.ListToolsResult.model_validate({"tools": listed})

    async def _call_tool(self, ctx: Any, params: types.CallToolRequestParams) -> Any:
        self.calls += 1
        if params.name not in TOOLS:
            raise MCPError(types.INVALID_PARAMS, f"unknown tool: {params.name}")
        result = await TOOLS[params.name].answer(ctx, params)
        if result.get("resultType") == "input_required":
            return types.InputRequiredResult.model_validate(result)
        return types.CallToolResult.model_validate(result)
