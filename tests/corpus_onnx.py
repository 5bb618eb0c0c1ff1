"""ONNX files that once went wrong: each must open, or a ValueError must name it. See `fuzz_onnx.py`.

A new one goes to the end, compressed by zlib and in base 64, when what it shows is mended.
"""

import zlib
from base64 import b64decode

FILES = {name: zlib.decompress(b64decode(text)) for name, text in {
    "functions that each call the next ten times: more nodes than fit into memory":
        "eNqF1r1OAkEUQGEHNOJQuOwjUBoL587/lhQUFBSWdmxi6LBUXtHOWh/GXWQ15hCmmuRk5iZfNXcyaZK+1eqtVvv5aPnQjF9ed7XaPlV9"
        "m+qbiaqv9LhWu7Yr+39lcakvqtniWvdvKvWuPpTuRszV5k61TTd0U6u2G2oOQ5uqD6PWoAiKRXEoHiWgRJSEkn/L6uBZDZ7H/jiiDFAC"
        "lAAlQAlQApQAJUAJUAKUlFAClAXKAmWBskBZoCxQFigLlAXKllAWKAeUA8oB5YByQDmgHFAOKAeUK6EcUB4oD5QHygPlgfJAeaA8UB4o"
        "X0J5oAJQAagAVAAqABWACkAFoAJQoYQKQEWgIlARqAhUBCoCFYGKQEWgYgkVgUpAJaASUAmoBFQCKgGVgEpApRIqAZWBykBloDJQGagM"
        "VAYqA5WBymdQnz0qH1HVETVemp8vvZkNKiRhskyOyTMFpsiUmPJfOs37Urq/QZ+hz9Bn6DP0GfoMfYY+Q5+hzxR9hj6hT+gT+oQ+oU/o"
        "E/qEPqHv3MZx3/OGjWM68NbP21PXvwGnBhfV",
    "an empty tensor with a size that NumPy refuses":
        "eNrj4LDy5xLmYqzgYswWYqyUYk5MSVFidkxJEWJM1xLk4mJogAIHAUYnxuwoAaBSIW4uTg5GIVYuZiHGvCSgSCWKiBMLF4OAIADqbg6I",
}.items()}
