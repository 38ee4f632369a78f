"""The least that a server can be: a request's bytes from a socket to one session, and the answer's back.

It believes whatever it is told, knows one form of request (binary), makes a run for each and tells nobody what it
did.  It shows how much of R the way alone costs on a machine: `python bare_server.py MODEL PORT`.
"""

import re
import select
import socket
import sys

import numpy as np
import onnxruntime

SCRATCH = 16 * 1024
ALIGNMENT = 16
LENGTHS = re.compile(rb"inference-header-content-length: (\d+)|content-length: (\d+)", re.IGNORECASE)
HEAD = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\ninference-header-content-length: %d\r\n\r\n%b"


class Model:
    """The session, from the bytes of its input to those of an answer."""

    def __init__(self, file):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(file, options)
        self._input = self._session.get_inputs()[0].name
        self._shape = [size if isinstance(size, int) else 1 for size in self._session.get_inputs()[0].shape]
        self._name = self._session.get_outputs()[0].name

    def answer(self, raw):
        output = self._session.run(None, {self._input: raw.view(np.float32).reshape(self._shape)})[0]
        size = output.nbytes
        text = (
            b'{"model_name":"bench","outputs":[{"name":"%b","datatype":"FP32","shape":%b,'
            b'"parameters":{"binary_data_size":%d}}]}' % (self._name.encode(), str([*output.shape]).encode(), size)
        )
        return HEAD % (len(text) + size, len(text), text) + output.tobytes()


class Connection:
    """One client, and how much of its request is here."""

    def __init__(self, sock, scratch):
        self._socket, self._scratch = sock, scratch
        self._head, self._body, self._filled, self._text = b"", None, 0, 0

    def read(self, model):
        """Take what came, and answer when that was the end of a request; false: the client left."""
        if self._body is None:
            got = self._socket.recv_into(self._scratch)
            self._begin(got)
        else:
            got = self._socket.recv_into(self._body.data[self._filled :])
            self._filled += got
        if self._body is not None and self._filled == len(self._body):
            self._socket.sendall(model.answer(self._body[self._text :]))
            self._body = None
        return got > 0

    def _begin(self, got):
        self._head += self._scratch[:got]
        head, end, body = self._head.partition(b"\r\n\r\n")
        if end:
            found = LENGTHS.findall(head)
            self._text = max(int(text or 0) for text, _ in found)
            shift = -self._text % ALIGNMENT
            self._body = np.empty(shift + max(int(length or 0) for _, length in found), np.uint8)[shift:]
            self._body[: len(body)] = np.frombuffer(body, np.uint8)
            self._filled, self._head = len(body), b""


def main():
    model, scratch = Model(sys.argv[1]), memoryview(bytearray(SCRATCH))
    listener = socket.create_server(("127.0.0.1", int(sys.argv[2])), backlog=1024)
    poll, clients = select.epoll(), {}
    poll.register(listener, select.EPOLLIN)
    while True:
        for descriptor, _ in poll.poll():
            if descriptor == listener.fileno():
                sock, _ = listener.accept()
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                clients[sock.fileno()] = sock, Connection(sock, scratch)
                poll.register(sock, select.EPOLLIN)
            elif not clients[descriptor][1].read(model):
                poll.unregister(descriptor)
                clients.pop(descriptor)[0].close()


if __name__ == "__main__":
    main()
