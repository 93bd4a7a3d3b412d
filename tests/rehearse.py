"""Deploys FeatherGate for real to an emulated AWS on this machine, then calls it as a client would.

`sam build` and `sam package` build and upload what `sam deploy` would; SAM's own translator turns the template into
CloudFormation; moto creates the stack. The function then runs under `cargo lambda watch` with the environment that it was
deployed with, fetches its keys from moto's Parameter Store, and answers the official OpenAI and Anthropic SDKs through an
emulated function URL, with a scripted provider behind it. Nothing leaves loopback. `make rehearse` runs it.

Every step says what it saw; the first that fails ends the rehearsal.
"""

from __future__ import annotations

import ast
import fnmatch
import io
import json
import logging
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
import traceback
import urllib.error
import urllib.request
import zipfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests/python"))
sys.dont_write_bytecode = True

REGION, ACCOUNT, BUCKET, PREFIX = "eu-central-1", "123456789012", "rehearsal", "/feathergate"
# Nobody's environment, keys or profile may reach in, and make's must not reach the make that SAM calls.
ENVIRONMENT = {
    name: value
    for name, value in os.environ.items()
    if not name.startswith(("AWS_", "OPENAI_", "ANTHROPIC_", "FEATHERGATE_", "MAKE", "RUST_LOG"))
    and not name.lower().endswith("_proxy")
    and name not in ("CONFIG", "ARGS", "MFLAGS")
}
os.environ.clear()
os.environ.update(ENVIRONMENT)
os.environ |= {
    "AWS_ACCESS_KEY_ID": "AKIDREHEARSAL",
    "AWS_SECRET_ACCESS_KEY": "rehearsal-secret",
    "AWS_DEFAULT_REGION": REGION,
    "AWS_REGION": REGION,
    "AWS_EC2_METADATA_DISABLED": "true",
    "SAM_CLI_TELEMETRY": "0",
    "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    "CARGO_TARGET_DIR": os.environ.get("CARGO_TARGET_DIR", str(ROOT / "target")),
}

import anthropic  # noqa: E402 - only now is the environment what they may see
import boto3  # noqa: E402
import openai  # noqa: E402
import yaml  # noqa: E402
from fake_provider import FakeProvider  # noqa: E402
from moto.awslambda.models import LambdaFunction, lambda_backends  # noqa: E402
from moto.core.common_models import CloudFormationModel  # noqa: E402
from moto.server import ThreadedMotoServer  # noqa: E402
from samtranslator.parser.parser import Parser  # noqa: E402
from samtranslator.translator.translator import Translator  # noqa: E402
from samtranslator.yaml_helper import yaml_parse  # noqa: E402

MASTER_KEY = "sk-rehearsal-master-5f3a9c71e0d24b86"
PROVIDER_KEY = "sk-rehearsal-provider-8d1f0b7a"
ROTATED_KEY = "sk-rehearsal-rotated-2c9e6d45"
ORIGINS = ["https://app.example.com", "https://chat.example.org"]
HELLO = [{"role": "user", "content": "Hello"}]
PATIENCE = 60.0


# --- The account of it -----------------------------------------------------------------------------------------------


class Failed(Exception):
    """The rehearsal ends here."""


passed = 0


def step(title: str) -> None:
    print(f"\n== {title}", flush=True)


def check(what: str, true: object, saw: object = "") -> None:
    global passed
    if not true:
        raise Failed(f"{what}; what was seen: {saw!r}")
    passed += 1
    print(f"   ok  {what}", flush=True)


def same(what: str, saw: object, expected: object) -> None:
    if saw != expected:
        raise Failed(f"{what}: expected {expected!r}, saw {saw!r}")
    check(f"{what}: {json.dumps(saw, ensure_ascii=False, sort_keys=True, default=str)}", True)


def run(*command: str) -> None:
    print(f"   $ {' '.join(command)}", flush=True)
    done = subprocess.run(command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        raise Failed(f"`{' '.join(command[:2])}` ended with {done.returncode}:\n{done.stdout}")


# --- What moto's CloudFormation does not do yet ----------------------------------------------------------------------


class FunctionUrl(CloudFormationModel):
    """AWS::Lambda::Url: moto has it in its API only."""

    __module__ = "moto.awslambda.url"  # where moto looks for the service that a model belongs to

    def __init__(self, url: str, function: str) -> None:
        self.url = url
        self.physical_resource_id = function

    @staticmethod
    def cloudformation_name_type() -> str:
        return "TargetFunctionArn"

    @staticmethod
    def cloudformation_type() -> str:
        return "AWS::Lambda::Url"

    @classmethod
    def create_from_cloudformation_json(cls, resource_name, cloudformation_json, account_id, region_name, **kwargs):  # noqa: ANN001, ANN003, ANN206
        properties = cloudformation_json["Properties"]
        function = lambda_backends[account_id][region_name].get_function(properties["TargetFunctionArn"])
        return cls(function.create_url_config(properties).url + "/", function.function_arn)

    @classmethod
    def has_cfn_attr(cls, attr: str) -> bool:
        return attr == "FunctionUrl"

    def get_cfn_attribute(self, attribute_name: str) -> str:
        return self.url

    def delete(self, account_id: str, region_name: str) -> None:
        """Goes with the function."""


def with_architecture(create):  # noqa: ANN001, ANN201
    """moto's CloudFormation forgets a function's architecture."""

    def wrapped(cls, resource_name, cloudformation_json, account_id, region_name, **kwargs):  # noqa: ANN001, ANN003, ANN202
        function = create(resource_name, cloudformation_json, account_id, region_name, **kwargs)
        function.architectures = cloudformation_json["Properties"]["Architectures"]
        return function

    return classmethod(wrapped)


LambdaFunction.create_from_cloudformation_json = with_architecture(LambdaFunction.create_from_cloudformation_json)


def transform(template: Path, **parameters: str) -> dict:
    """Plain CloudFormation, by the translator that AWS runs."""
    session = boto3.session.Session(region_name=REGION)
    return Translator({}, Parser(), boto_session=session).translate(yaml_parse(template.read_text()), parameters)


# --- The steps -------------------------------------------------------------------------------------------------------


def check_package(data: bytes, where: str) -> str:
    """Returns the configuration in it."""
    with zipfile.ZipFile(io.BytesIO(data)) as package:
        names = package.namelist()
        same(f"{where} holds", sorted(names), ["bootstrap", "feathergate.yaml"])
        program = package.read("bootstrap")
        machine = struct.unpack_from("<H", program, 18)[0]
        check("bootstrap is an ELF program for aarch64", program[:6] == b"\x7fELF\x02\x01" and machine == 183, program[:20])
        mode = package.getinfo("bootstrap").external_attr >> 16
        check(f"bootstrap may be executed by anybody (mode {mode & 0o777:o})", mode & 0o111 == 0o111)
        print(f"       bootstrap {len(program) / 1e6:.2f} MB, package {len(data) / 1e6:.2f} MB")
        return package.read("feathergate.yaml").decode()


def create_stack(name: str, template: dict, parameters: dict[str, str]) -> dict:
    """Returns what was created, as the services themselves describe it."""
    stacks = boto3.client("cloudformation")
    stacks.create_stack(
        StackName=name,
        TemplateBody=json.dumps(template),
        Parameters=[{"ParameterKey": key, "ParameterValue": value} for key, value in parameters.items()],
        Capabilities=["CAPABILITY_IAM"],
    )
    stack = stacks.describe_stacks(StackName=name)["Stacks"][0]
    same(f"stack {name}", stack["StackStatus"], "CREATE_COMPLETE")
    outputs = {output["OutputKey"]: output["OutputValue"] for output in stack["Outputs"]}
    functions, roles = boto3.client("lambda"), boto3.client("iam")
    function = functions.get_function(FunctionName=outputs["FunctionName"])
    try:
        policy = json.loads(functions.get_policy(FunctionName=outputs["FunctionName"])["Policy"])["Statement"]
    except functions.exceptions.ResourceNotFoundException:
        policy = []
    role = function["Configuration"]["Role"].rpartition("/")[2]
    attached = roles.list_attached_role_policies(RoleName=role)["AttachedPolicies"]
    statements = [
        statement
        for inline in roles.list_role_policies(RoleName=role)["PolicyNames"]
        for statement in document(roles.get_role_policy(RoleName=role, PolicyName=inline)["PolicyDocument"])["Statement"]
        if statement  # where CloudFormation leaves out AWS::NoValue in a list, moto leaves None
    ]
    return {
        "outputs": outputs,
        "configuration": function["Configuration"],
        "concurrency": function.get("Concurrency", {}).get("ReservedConcurrentExecutions"),
        "url": functions.get_function_url_config(FunctionName=outputs["FunctionName"]),
        "grants": sorted((grant["Action"], grant["Principal"], conditions(grant)) for grant in policy),
        "attached": attached,
        "may": {statement["Sid"]: statement for statement in statements},
        "trust": document(roles.get_role(RoleName=role)["Role"]["AssumeRolePolicyDocument"])["Statement"],
    }


def document(policy: dict | str) -> dict:
    """boto3 decodes a policy; one that moto's CloudFormation stored comes as the text of a Python dict."""
    return policy if isinstance(policy, dict) else ast.literal_eval(policy)


def conditions(grant: dict) -> str:
    return " ".join(f"{key}={grant[key]}" for key in ("FunctionUrlAuthType", "InvokedViaFunctionUrl") if key in grant)


def check_public(stack: dict) -> None:
    configuration = stack["configuration"]
    same("architecture", configuration["Architectures"], ["arm64"])
    same("runtime", configuration["Runtime"], "provided.al2023")
    same("memory and timeout", [int(configuration["MemorySize"]), int(configuration["Timeout"])], [256, 900])
    same("reserved concurrency", stack["concurrency"], None)
    expected = {
        "FEATHERGATE_CONFIG": "/var/task/feathergate.yaml",
        "FEATHERGATE_CORS_ORIGINS": ",".join(ORIGINS),
        "FEATHERGATE_RESPONSE": "streamed",
        "FEATHERGATE_SSM_PREFIX": PREFIX,
        "FEATHERGATE_TABLE": stack["outputs"]["TableName"],
        "RUST_LOG": "warn,feathergate=info",
    }
    same("environment", configuration["Environment"]["Variables"], expected)
    url = stack["url"]
    same("function URL", [url["AuthType"], url["InvokeMode"], url.get("Cors")], ["NONE", "RESPONSE_STREAM", None])
    grants = [
        ("lambda:InvokeFunction", "*", "InvokedViaFunctionUrl=True"),
        ("lambda:InvokeFunctionUrl", "*", "FunctionUrlAuthType=NONE"),
    ]
    same("who may call", [(action, principal, text.replace("true", "True")) for action, principal, text in stack["grants"]], grants)
    same("managed policies of the role", stack["attached"], [])
    same("who may take the role", [trust["Principal"] for trust in stack["trust"]], [{"Service": "lambda.amazonaws.com"}])
    group = f"arn:aws:logs:{REGION}:{ACCOUNT}:log-group:/aws/lambda/feathergate"
    may = {sid: [statement["Effect"], statement["Action"], statement["Resource"]] for sid, statement in stack["may"].items()}
    check(f"the log group it may write is its own: {may['WriteItsLog'][2]}", may["WriteItsLog"][2] in (group, group + ":*"), may)
    same("what it may do to that", may.pop("WriteItsLog")[1], ["logs:CreateLogStream", "logs:PutLogEvents"])
    parameters = f"arn:aws:ssm:{REGION}:{ACCOUNT}:parameter{PREFIX}/*"
    table = boto3.client("dynamodb").describe_table(TableName=stack["outputs"]["TableName"])["Table"]
    calls = [f"dynamodb:{call}" for call in ("GetItem", "Query", "PutItem", "UpdateItem", "DeleteItem")]
    same("all else it may do", may, {
        "ReadItsKeys": ["Allow", "ssm:GetParameters", parameters],
        "KeepItsBooks": ["Allow", calls, table["TableArn"]],
    })  # fmt: skip
    same("the table's key", {key["AttributeName"]: key["KeyType"] for key in table["KeySchema"]}, {"pk": "HASH", "sk": "RANGE"})
    same("how it is paid", table["BillingModeSummary"]["BillingMode"], "PAY_PER_REQUEST")
    groups = boto3.client("logs").describe_log_groups(logGroupNamePrefix="/aws/lambda/feathergate")["logGroups"]
    same("log group", [[group["logGroupName"], group["retentionInDays"]] for group in groups], [["/aws/lambda/feathergate", 30]])
    print("   what the deployer is told:")
    for name, value in stack["outputs"].items():
        print(f"       {name}: {value}")
    address = stack["url"]["FunctionUrl"].rstrip("/")
    check("the outputs name the function URL", all(address in stack["outputs"][name] for name in ("Url", "TryPage", "TryChat")))


def check_private(stack: dict, key: str) -> None:
    url = stack["url"]
    same("function URL", [url["AuthType"], url["InvokeMode"]], ["AWS_IAM", "BUFFERED"])
    same("who may call without a policy of his own", stack["grants"], [])
    same("response mode", stack["configuration"]["Environment"]["Variables"]["FEATHERGATE_RESPONSE"], "buffered")
    same("reserved concurrency", int(stack["concurrency"] or -1), 5)
    check("no table, and nothing about one", "TableName" not in stack["outputs"] and "KeepItsBooks" not in stack["may"])
    check("nor in its environment", not stack["configuration"]["Environment"]["Variables"].get("FEATHERGATE_TABLE"))
    same("KMS", [stack["may"]["DecryptItsKeys"]["Action"], stack["may"]["DecryptItsKeys"]["Resource"]], ["kms:Decrypt", key])
    check("the commands in the outputs are signed", "--aws-sigv4" in stack["outputs"]["TryChat"], stack["outputs"])


def store(name: str, value: str) -> None:
    boto3.client("ssm").put_parameter(Name=f"{PREFIX}/{name}", Value=value, Type="SecureString", Overwrite=True)


def with_providers_at(config: str, url: str) -> str:
    """The deployed configuration, but the providers are ours; a model's name picks what the scripted provider answers."""
    document = yaml.safe_load(config)
    for entry in document["model_list"]:
        parameters = entry["litellm_params"]
        if "api_key" in parameters:
            vendor = parameters["model"].partition("/")[0]
            parameters |= {"model": f"{vendor}/ok", "api_base": url + ("/v1" if vendor == "openai" else "")}
    return yaml.safe_dump(document, sort_keys=False)


def model_of(config: str, vendor: str) -> str:
    entries = yaml.safe_load(config)["model_list"]
    return next(entry["model_name"] for entry in entries if entry["litellm_params"]["model"].startswith(vendor + "/")
                and "api_key" in entry["litellm_params"])  # fmt: skip


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def get(
    url: str, headers: dict[str, str] | None = None, method: str = "GET", body: bytes | None = None, timeout: float = PATIENCE
) -> tuple[int, dict[str, str], str]:
    request = urllib.request.Request(url, body, headers or {}, method=method)
    try:
        with urllib.request.urlopen(request, timeout=timeout) as answer:
            return answer.status, {key.lower(): value for key, value in answer.headers.items()}, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, {key.lower(): value for key, value in error.headers.items()}, error.read().decode()


def ask(url: str, model: str, path: str = "/v1/chat/completions") -> tuple[int, str]:
    body = json.dumps({"model": model, "max_tokens": 64, "messages": HELLO}).encode()
    headers = {"authorization": f"Bearer {MASTER_KEY}", "content-type": "application/json", "anthropic-version": "2023-06-01"}
    status, _, text = get(url + path, headers, "POST", body)
    return status, text


@contextmanager
def function(folder: Path, variables: dict[str, str], endpoint: str) -> Iterator[tuple[str, Path]]:
    """The function under `cargo lambda watch`: the function URL and the file that holds its output."""
    port, environment, log = free_port(), folder / "function.env", folder / f"function-{variables['FEATHERGATE_RESPONSE']}.log"
    variables = variables | {
        "FEATHERGATE_CONFIG": str(folder / "feathergate.yaml"),
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_REGION": REGION,
        "AWS_ACCESS_KEY_ID": os.environ["AWS_ACCESS_KEY_ID"],
        "AWS_SECRET_ACCESS_KEY": os.environ["AWS_SECRET_ACCESS_KEY"],
    }
    # Where CloudFormation leaves out AWS::NoValue, moto leaves nothing in its place.
    environment.write_text("".join(f'{name}="{value}"\n' for name, value in variables.items() if value))
    command = ["cargo", "lambda", "watch", "--ignore-changes", "--disable-cors", "--invoke-address", "127.0.0.1"]
    command += ["--invoke-port", str(port), "--env-file", str(environment), "--manifest-path", str(ROOT / "Cargo.toml")]
    print(f"   $ {' '.join(command)}", flush=True)
    with log.open("wb") as output:
        watch = subprocess.Popen(
            command, cwd=folder, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        )
    url = f"http://127.0.0.1:{port}/lambda-url/feathergate"
    try:
        deadline = time.monotonic() + 600  # the first start may compile
        while True:
            # The emulator goes on without a function that has ended.
            if watch.poll() is not None or "command exited" in log.read_text(errors="replace") or time.monotonic() > deadline:
                raise Failed("the function did not start")
            try:
                if get(url + "/health/liveliness", timeout=5)[0] == 200:
                    break
            except OSError:
                pass
            time.sleep(0.1)
        yield url, log
    except Exception:
        print(f"\n--- the function's output ---\n{log.read_text(errors='replace')[-6000:]}", flush=True)
        raise
    finally:
        if watch.poll() is None:
            os.killpg(watch.pid, signal.SIGKILL)
            watch.wait()


def check_openai(url: str, model: str, provider: FakeProvider, key: str, streams: bool = True) -> None:
    with openai.OpenAI(base_url=url + "/v1", api_key=MASTER_KEY, max_retries=0, timeout=PATIENCE) as client:
        provider.clear()
        answer = client.chat.completions.create(model=model, messages=HELLO)
        text, tokens = answer.choices[0].message.content, answer.usage.total_tokens
        check(f"openai SDK, whole: {text!r}, {tokens} tokens", text and tokens, answer)
        same("the provider got the key from Parameter Store", provider.only().header("authorization"), f"Bearer {key}")
        provider.clear()
        pieces = []
        for chunk in client.chat.completions.create(model=model, messages=HELLO, stream=True, stream_options={"include_usage": True}):
            pieces += [choice.delta.content for choice in chunk.choices if choice.delta.content]
            usage = chunk.usage
        check(f"openai SDK, streamed: {pieces}, {usage and usage.total_tokens} tokens", "".join(pieces) == text and usage, pieces)
        check("and in the provider's pieces" if streams else "and complete", not streams or len(pieces) > 1, pieces)


def check_anthropic(url: str, model: str, provider: FakeProvider, key: str) -> None:
    with anthropic.Anthropic(base_url=url, api_key=MASTER_KEY, max_retries=0, timeout=PATIENCE) as client:
        provider.clear()
        answer = client.messages.create(model=model, messages=HELLO, max_tokens=64)
        text, tokens = answer.content[0].text, answer.usage.output_tokens
        check(f"anthropic SDK, whole: {text!r}, {tokens} tokens out", text and tokens, answer)
        same("the provider got the key from Parameter Store", provider.only().header("x-api-key"), key)
        with client.messages.stream(model=model, messages=HELLO, max_tokens=64) as stream:
            pieces = list(stream.text_stream)
            final = stream.get_final_message()
        check(f"anthropic SDK, streamed: {pieces}, stopped by {final.stop_reason}", "".join(pieces) == text and final.stop_reason, pieces)


def check_front_door(url: str) -> None:
    status, _, page = get(url + "/")
    check(f"GET / answers {status} and says what it is", status == 200 and "feathergate" in page.lower(), page)
    for headers in ({}, {"authorization": "Bearer sk-wrong"}):
        status, _, text = get(url + "/v1/models", headers)
        same(f"GET /v1/models {'with a wrong key' if headers else 'without a key'}", status, 401)
    status, _, text = get(url + "/v1/models", {"authorization": f"Bearer {MASTER_KEY}"})
    check("GET /v1/models with the master key", status == 200, text)
    print(f"       {', '.join(model['id'] for model in json.loads(text)['data'])}")
    for origin in [*ORIGINS, "https://elsewhere.example.net"]:
        asked = {"origin": origin, "access-control-request-method": "POST", "access-control-request-headers": "authorization"}
        _, headers, _ = get(url + "/v1/chat/completions", asked, "OPTIONS")
        same(f"a page of {origin} may call", headers.get("access-control-allow-origin") == origin, origin in ORIGINS)


def rehearse(folder: Path, stack: ExitStack) -> None:
    step("sam build: what a deployment would upload")
    run("sam", "build", "--template", "template.yaml")
    built = ROOT / ".aws-sam/build/template.yaml"
    check_package((Path(os.environ["CARGO_TARGET_DIR"]) / "lambda/feathergate/bootstrap.zip").read_bytes(), "bootstrap.zip")

    step("An AWS on loopback, and sam package into its S3")
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    stack.callback(server.stop)
    host, port = server.get_host_and_port()
    endpoint = f"http://{host}:{port}"
    os.environ["AWS_ENDPOINT_URL"] = endpoint
    print(f"   moto on {endpoint}")
    boto3.client("s3").create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": REGION})
    packaged = folder / "packaged.yaml"
    run("sam", "package", "--template-file", str(built), "--s3-bucket", BUCKET, "--output-template-file", str(packaged))
    objects = boto3.client("s3").list_objects_v2(Bucket=BUCKET)["Contents"]
    same("objects uploaded", len(objects), 1)
    uploaded = boto3.client("s3").get_object(Bucket=BUCKET, Key=objects[0]["Key"])["Body"].read()
    config = check_package(uploaded, "the uploaded package")
    check("its configuration is config/lambda.yaml", config == (ROOT / "config/lambda.yaml").read_text())

    step("SAM's transform")
    template = transform(packaged)
    for name, resource in template["Resources"].items():
        print(f"       {name}: {resource['Type']}")
    resources = ["FeatherGate", "FeatherGateUrl", "LogGroup", "PublicInvoke", "PublicUrl", "Role", "Table"]
    same("resources", sorted(template["Resources"]), resources)
    table = template["Resources"]["Table"]
    same("the table when the stack goes", [table["DeletionPolicy"], table["UpdateReplacePolicy"]], ["Retain", "Retain"])
    same("its backup", table["Properties"]["PointInTimeRecoverySpecification"], {"PointInTimeRecoveryEnabled": True})
    same("what ends by itself", table["Properties"]["TimeToLiveSpecification"], {"AttributeName": "ends", "Enabled": True})
    log = template["Resources"]["FeatherGate"]["Properties"]["LoggingConfig"]
    same("what Lambda does with log lines", log, {
        "ApplicationLogLevel": "DEBUG", "LogFormat": "JSON", "LogGroup": {"Ref": "LogGroup"}, "SystemLogLevel": "INFO",
    })  # fmt: skip

    step("The stack, public")
    deployed = create_stack("feathergate", template, {"CorsOrigins": ",".join(ORIGINS)})
    check_public(deployed)

    step("The stack, with every other choice")
    key = f"arn:aws:kms:{REGION}:{ACCOUNT}:key/11111111-2222-3333-4444-555555555555"
    choices = {"AuthType": "AWS_IAM", "InvokeMode": "BUFFERED", "ReservedConcurrency": "5", "KmsKeyArn": key, "Keys": "DISABLED"}
    private = create_stack("feathergate-private", template, choices)
    check_private(private, key)

    step("Keys in Parameter Store; Anthropic's is still missing")
    store("master-key", MASTER_KEY)
    store("openai-api-key", PROVIDER_KEY)
    allowed = deployed["may"]["ReadItsKeys"]["Resource"]
    for parameter in ("master-key", "openai-api-key", "anthropic-api-key"):
        check(f"the role may read {PREFIX}/{parameter}", fnmatch.fnmatchcase(f"{allowed[:-2]}/{parameter}", allowed), allowed)
    check("and nothing beside the prefix", not fnmatch.fnmatchcase(f"{allowed[:-2]}s/other", allowed), allowed)

    step("The function, with the environment that it was deployed with")
    provider = stack.enter_context(FakeProvider(key=PROVIDER_KEY))
    (folder / "feathergate.yaml").write_text(with_providers_at(config, provider.url))
    variables = deployed["configuration"]["Environment"]["Variables"]
    gpt, claude = model_of(config, "openai"), model_of(config, "anthropic")
    with function(folder, variables, endpoint) as (url, log):
        check_front_door(url)
        status, text = ask(url, "demo")
        check("model demo answers and calls nobody", status == 200 and not provider.seen, text)
        check_openai(url, gpt, provider, PROVIDER_KEY)

        provider.clear()
        status, text = ask(url, claude, "/v1/messages")
        check(f"{claude} says which parameter is missing ({status})", f"{PREFIX}/anthropic-api-key" in text and status >= 400, text)
        same("requests that reached the provider meanwhile", len(provider.seen), 0)
    with function(folder, variables, endpoint) as (url, log):
        store("anthropic-api-key", PROVIDER_KEY)
        check_anthropic(url, claude, provider, PROVIDER_KEY)

        step("The provider's keys are replaced while it runs")
        store("openai-api-key", ROTATED_KEY)
        store("anthropic-api-key", ROTATED_KEY)
        provider.key = ROTATED_KEY
        answer = openai.OpenAI(base_url=url + "/v1", api_key=MASTER_KEY, max_retries=0).chat.completions.create(model=gpt, messages=HELLO)
        check(f"the next request succeeds with the new key: {answer.choices[0].message.content!r}", answer.choices)
        check_anthropic(url, claude, provider, ROTATED_KEY)
        check_log(log)

    step("The function of the other stack: answers in one piece")
    variables = private["configuration"]["Environment"]["Variables"]
    with function(folder, variables, endpoint) as (url, log):
        check_openai(url, gpt, provider, ROTATED_KEY, streams=False)
        check_log(log)

    step("Taking it down")
    boto3.client("cloudformation").delete_stack(StackName="feathergate")
    boto3.client("cloudformation").delete_stack(StackName="feathergate-private")
    same("functions left", boto3.client("lambda").list_functions()["Functions"], [])


def check_log(log: Path) -> None:
    text = log.read_text(errors="replace")
    found = [key for key in (MASTER_KEY, PROVIDER_KEY, ROTATED_KEY, os.environ["AWS_SECRET_ACCESS_KEY"]) if key in text]
    same("keys in the function's log", found, [])
    lines = [json.loads(line) for line in text.splitlines() if line.startswith("{")]
    requests = [line for line in lines if line.get("message") == "request"]
    check(f"and one line for each request ({len(requests)})", requests, text[-2000:])


def main() -> int:
    for tool in ("sam", "cargo", "cargo-lambda"):
        if not shutil.which(tool):
            print(f"rehearse: {tool} is not there: call `make rehearse`")
            return 1
    try:
        with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
            rehearse(Path(folder), stack)
    except Exception as error:  # noqa: BLE001 - the closing line must be true whatever went wrong
        reason = str(error) if isinstance(error, Failed) else "".join(traceback.format_exception(error)).rstrip()
        print(f"\nFAILED: {reason}\n\nrehearse: {passed} passed, 1 failed", flush=True)
        return 1
    print(f"\nrehearse: {passed} passed, 0 failed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
