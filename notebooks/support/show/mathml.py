"""Short formulas as MathML, which a browser typesets without a script or a request.

`{a}/{b}` is a fraction, `_c` or `_{...}` an index, `^q` a q with a hat, `[[` and `]]` brackets that grow with what is
in them. Letters and words are set as identifiers, everything else as operators.
"""

import re

TOKEN = re.compile(r"\s+|\[\[|\]\]|\^\w|[^\W\d_]+|\d+(?:\.\d+)?|.")
FIXED = "()|[]"  # they keep their size


def mathml(text: str) -> str:
    """A formula as a <math> element.

    Raises ValueError where braces don't match, or where an index or a fraction lacks a part.
    """
    tokens = [token for token in TOKEN.findall(text) if not token.isspace()]
    try:
        parts = _row(tokens)
    except (ValueError, IndexError) as error:
        raise ValueError(f"not a formula: {text!r}") from error
    if tokens:
        raise ValueError(f"not a formula: {text!r} has a brace too many")
    return f"<math>{''.join(parts)}</math>"


def in_text(html: str) -> str:
    """HTML whose formulas stand as <m>...</m>, with MathML in their place."""
    return re.sub(r"<m>(.*?)</m>", lambda match: mathml(match[1]), html, flags=re.DOTALL)


def _row(tokens: list[str]) -> list[str]:
    """The elements of the tokens up to a closing brace, which are taken off the list."""
    parts = []
    while tokens and tokens[0] != "}":
        if tokens[0] == "_":
            tokens.pop(0)
            parts.append(f"<msub>{parts.pop()}{_group(tokens)}</msub>")
        elif tokens[0] == "{":
            top = _group(tokens)
            if tokens.pop(0) != "/":
                raise ValueError("braces are an index or a fraction")
            parts.append(f"<mfrac>{top}{_group(tokens)}</mfrac>")
        else:
            parts.append(_element(tokens.pop(0)))
    return parts


def _group(tokens: list[str]) -> str:
    """One token, or a row in braces, as one element."""
    token = tokens.pop(0)
    if token != "{":
        return _element(token)
    parts = _row(tokens)
    tokens.pop(0)  # the closing brace
    return f"<mrow>{''.join(parts)}</mrow>"


def _element(token: str) -> str:
    if token in ("[[", "]]"):
        return f"<mo>{token[0]}</mo>"
    if token in FIXED:
        return f'<mo stretchy="false">{token}</mo>'
    if token.startswith("^"):
        return f"<mover><mi>{token[1]}</mi><mo>^</mo></mover>"
    if token == "log":
        return '<mi>log</mi><mspace width="0.17em"></mspace>'
    kind = "mi" if token.isalpha() else "mn" if token[0].isdigit() else "mo"
    return f"<{kind}>{token}</{kind}>"
