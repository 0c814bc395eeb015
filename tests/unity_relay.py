"""A Unity build out of Unity's own compiled communicator under Mono: `unity_relay.py EXE ASSEMBLIES --mlagents-port N`.

gRPC's native library is not among the assemblies, so ``unity_client.cs`` sends its calls here over TCP, and from here
they go on by gRPC, byte for byte.
"""

import os
import socket
import struct
import subprocess
import sys

import grpc


def main(program, assemblies, port):
    call = grpc.insecure_channel(f"127.0.0.1:{port}").unary_unary(
        "/communicator_objects.UnityToExternalProto/Exchange")  # without serializers: bytes
    with socket.create_server(("127.0.0.1", 0)) as server:
        subprocess.Popen(["mono", program, assemblies, str(server.getsockname()[1])],
                         env=os.environ | {"MONO_PATH": assemblies})
        stream, _ = server.accept()
    while header := stream.recv(4, socket.MSG_WAITALL):
        request = stream.recv(struct.unpack("<i", header)[0], socket.MSG_WAITALL)
        try:
            answer = call(request, wait_for_ready=True, timeout=60)
        except grpc.RpcError:
            break
        stream.sendall(struct.pack("<i", len(answer)) + answer)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[sys.argv.index("--mlagents-port") + 1]))
