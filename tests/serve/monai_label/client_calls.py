"""Calls a server by the client of MONAI Label itself; run by a Python that has it.

    python client_calls.py URL TOKEN_OR_EMPTY IMAGE

Prints what it got as JSON.
"""

import importlib.util
import json
import pathlib
import sys
import tempfile


def load_client():
    """Load the module without the package, whose other parts need PyTorch and more."""
    (place,) = importlib.util.find_spec("monailabel").submodule_search_locations
    path = pathlib.Path(place) / "client" / "client.py"
    spec = importlib.util.spec_from_file_location("monai_label_client", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def main(url, token, image):
    module = load_client()
    folder = tempfile.mkdtemp()
    found = {}

    def client():
        """A new one for each call, as the plugin for 3D Slicer does."""
        made = module.MONAILabelClient(url, folder, client_id="tester")
        if token:
            made.update_auth(made.auth_token("tester", token))
        return made

    def read(path):
        return list(pathlib.Path(path).read_bytes())

    found["enabled"] = client().auth_enabled()
    found["valid"] = client().auth_valid_token()
    found["info"] = client().info()
    sample = client().next_sample("first", {})
    id = found["id"] = sample["id"]
    path, params = client().infer("bright", id, {"modality": "xray", "result_extension": ".nrrd"})
    found["inferred"] = [pathlib.Path(path).name, params, read(path)]
    found["saved"] = client().save_label(id, path, params={"label_info": []})
    found["datastore"] = client().datastore()
    found["downloaded"] = read(client().download_label(id, "final"))
    session = client().create_session(image)
    found["session"] = client().get_session(session["session_id"])
    path, params = client().infer(
        "bright", "", {"modality": "xray"}, session_id=session["session_id"]
    )
    found["in_session"] = [pathlib.Path(path).name, params]
    client().remove_session(session["session_id"])
    found["uploaded"] = client().upload_image(image, "My scan")
    path, params = client().infer("bright", "", {"modality": "xray"}, file=image)
    found["of_file"] = [pathlib.Path(path).name, params]
    found["trains"] = client().train_status(check_if_running=True)
    try:
        client().infer("dull", id, {})
    except module.MONAILabelClientException as error:
        found["refused"] = error.msg
    print(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
