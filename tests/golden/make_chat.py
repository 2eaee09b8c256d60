"""Writes the goldens of chat templates: what Python's jinja2 renders with the settings of Hugging Face
transformers (a sandboxed environment with trim_blocks and lstrip_blocks, loop controls, the tag
`generation`, and json.dumps as `tojson`). The date is fixed.

usage: make_chat.py [SHARED]      writes chat/goldens.json from chat/templates and chat/expressions.txt,
                                  and chat/published.json from the templates in the folder SHARED
       make_chat.py --show TEMPLATE CONVERSATION    prints one rendering
Needs jinja2 3.1, which scripts/deps.sh --tests puts into build/clients/python.
"""

import datetime
import json
import pathlib
import sys

import jinja2
import jinja2.ext
import jinja2.nodes
import jinja2.sandbox

HERE = pathlib.Path(__file__).resolve().parent / "chat"
NOW = datetime.datetime(2026, 11, 26, 12, 0, 0)


class Generation(jinja2.ext.Extension):
    """{% generation %}…{% endgeneration %} prints its body."""

    tags = {"generation"}

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
        return jinja2.nodes.CallBlock(self.call_method("_pass"), [], [], body).set_lineno(line)

    def _pass(self, caller):
        return caller()


def raise_exception(message):
    raise jinja2.exceptions.TemplateError(message)


def tojson(value, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def environment():
    made = jinja2.sandbox.ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, jinja2.ext.loopcontrols]
    )
    made.filters["tojson"] = tojson
    made.globals["raise_exception"] = raise_exception
    made.globals["strftime_now"] = NOW.strftime
    return made


def render(source, variables):
    """{"text": …}, or {"error": …} where jinja2 refuses the template or the conversation."""
    try:
        return {"text": environment().from_string(source).render(**json.loads(json.dumps(variables)))}
    except Exception as reason:  # whatever Python says to it: the rendering is refused
        return {"error": f"{type(reason).__name__}: {reason}"}


def digest(text):
    """FNV-1a of the UTF-8 bytes."""
    value = 0xCBF29CE484222325
    for byte in text.encode():
        value = ((value ^ byte) * 0x100000001B3) & 0xFFFFFFFFFFFFFFFF
    return f"{value:016x}"


def conversations():
    return json.loads((HERE / "conversations.json").read_text())


def renderings(folder):
    for path in sorted(folder.glob("*.jinja")):
        for talk in conversations():
            yield path.name, talk["name"], render(path.read_text(), talk["variables"])


def write(path, value):
    lines = ",\n".join(json.dumps(one, ensure_ascii=False) for one in value)
    path.write_text(f"[\n{lines}\n]\n")


def expressions():
    """One template a line; "\\n" in it is a line end. Blank lines and lines with # in front are passed over."""
    variables = json.loads((HERE / "expressions_variables.json").read_text())
    for line in (HERE / "expressions.txt").read_text().splitlines():
        if line.strip() and not line.startswith("#"):
            yield {"expression": line, **render(line.replace("\\n", "\n"), variables)}


def main():
    if sys.argv[1:2] == ["--show"]:
        source = pathlib.Path(sys.argv[2]).read_text()
        talk = next(talk for talk in conversations() if talk["name"] == sys.argv[3])
        print(render(source, talk["variables"]))
        return
    goldens = [{"template": name, "conversation": talk, **made} for name, talk, made in renderings(HERE / "templates")]
    write(HERE / "goldens.json", goldens)
    write(HERE / "expressions.json", list(expressions()))
    if len(sys.argv) > 1:
        published = []
        for name, talk, made in renderings(pathlib.Path(sys.argv[1])):
            entry = {"template": name, "conversation": talk}
            if "text" in made:
                entry |= {"size": len(made["text"].encode()), "digest": digest(made["text"])}
            else:
                entry |= {"error": made["error"][:120]}
            published.append(entry)
        write(HERE / "published.json", published)


if __name__ == "__main__":
    main()
