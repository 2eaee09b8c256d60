"""Runs openai_node_test.mjs against a service of its own.

usage: openai_node_test.py TANDEM_BINARY FOLDER_WITH_NODE_MODULES
"""

import pathlib
import subprocess
import sys

from service import MODEL_NAME, Service

with Service(sys.argv[1], max_sequences=8) as service:
    script = pathlib.Path(__file__).with_name("openai_node_test.mjs")
    code = subprocess.run(
        ["node", str(script), service.url, MODEL_NAME, sys.argv[2]], timeout=600
    ).returncode
    if code:
        print(service.log.read_text(errors="replace")[-4000:])
sys.exit(code)
