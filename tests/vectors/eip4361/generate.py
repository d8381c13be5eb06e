"""Writes siwe-python.json: the texts that Python's siwe makes of cases.json.

    pip install siwe==4.4.0 'abnf<2.9'
    python generate.py
"""

import json
import re
from datetime import datetime
from pathlib import Path

from siwe import SiweMessage

HERE = Path(__file__).parent
TIMES = ("issuedAt", "expirationTime", "notBefore")


def vector(case: dict) -> dict:
    fields = {key: value for key, value in case.items() if key not in ("name", "not_by")}
    arguments = {re.sub("[A-Z]", lambda c: "_" + c[0].lower(), key): value for key, value in fields.items()}
    text = SiweMessage(version="1", **arguments).prepare_message()
    assert SiweMessage.from_message(text).prepare_message() == text
    return {
        "name": case["name"],
        "fields": fields | {"chainId": str(case["chainId"])},
        "milliseconds": {
            time: int(datetime.fromisoformat(fields[time]).timestamp() * 1000) for time in TIMES if time in fields
        },
        "text": text,
    }


cases = json.loads((HERE / "cases.json").read_text())["ethereum"]
vectors = [vector(case) for case in cases if "Python" not in case.get("not_by", [])]
output = {"library": "siwe 4.4.0 (Python)", "network": "eip155", "vectors": vectors}
(HERE / "siwe-python.json").write_text(json.dumps(output, indent=2) + "\n")
