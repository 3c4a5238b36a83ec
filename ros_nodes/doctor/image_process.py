"""One end of the image loop, in a process of its own: ``python -m ros_nodes.doctor.image_process send|receive SPEC``.

Started by ``ros_nodes.doctor.image_loop``; prints what it counted as its last line, in JSON.
"""

import json
import os
import sys
import time
from collections.abc import Callable
from typing import NoReturn

import numpy as np
import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions
from sensor_msgs.msg import Image

from policy_server.runtime.clock import NS_PER_MS
from ros_nodes import messages, qos
from ros_nodes.doctor.image_loop import LoopSpec

TOPIC = "doctor/image_loop"
_MEET_S = 8.0
_SETTLE_S = 0.3
_SILENCE_S = 1.0


def send(node: Node, spec: LoopSpec) -> dict[str, float]:
    """Publish the frames at their rate, stamped and numbered, once the reader is there."""
    publisher = node.create_publisher(Image, f"{TOPIC}_{spec.domain_id}", qos.CAMERA_IMAGE)
    _wait_until(lambda: publisher.get_subscription_count() > 0, "no reader was found")
    time.sleep(_SETTLE_S)
    picture = np.random.default_rng(0).integers(0, 256, (spec.height, spec.width, 3), np.uint8)
    begun_s = time.monotonic()
    for number in range(spec.frames):
        time.sleep(max(0.0, begun_s + number / spec.rate_hz - time.monotonic()))
        publisher.publish(messages.rgb_to_image(picture, time.time_ns(), str(number)))
    time.sleep(_SILENCE_S)
    return {"sent": spec.frames}


def receive(node: Node, spec: LoopSpec) -> dict[str, float]:
    """Count the frames until they stop, with the reader's profile that history_node takes."""
    ages_ms: list[float] = []
    numbers: set[str] = set()

    def on_image(message: Image) -> None:
        ages_ms.append((time.time_ns() - messages.stamp_to_ns(message.header.stamp)) / NS_PER_MS)
        numbers.add(message.header.frame_id)

    subscription = node.create_subscription(Image, f"{TOPIC}_{spec.domain_id}", on_image, qos.CAMERA_IMAGE_IN_ORDER)
    _wait_until(lambda: node.count_publishers(subscription.topic_name) > 0, "no sender was found")
    executor = SingleThreadedExecutor(context=node.context)
    executor.add_node(node)
    ends_s = time.monotonic() + _SETTLE_S + spec.seconds + _SILENCE_S
    while len(numbers) < spec.frames and time.monotonic() < ends_s:
        executor.spin_once(timeout_sec=0.05)
    if not ages_ms:
        return {"received": 0}
    p50_ms, p99_ms = np.percentile(np.array(ages_ms), (50, 99))
    return {"received": len(numbers), "p50_ms": float(p50_ms), "p99_ms": float(p99_ms)}


def _wait_until(condition: Callable[[], bool], complaint: str) -> None:
    deadline_s = time.monotonic() + _MEET_S
    while not condition():
        if time.monotonic() > deadline_s:
            print(complaint, file=sys.stderr, flush=True)
            _leave(1)
        time.sleep(0.02)


def _leave(status: int) -> NoReturn:
    """End at once: the middleware's static destructors hang now and then while the interpreter is torn down."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def main() -> NoReturn:
    role, spec = sys.argv[1], LoopSpec(**json.loads(sys.argv[2]))
    rclpy.init(args=[], domain_id=spec.domain_id, signal_handler_options=SignalHandlerOptions.NO)
    node = rclpy.create_node(f"doctor_image_{role}", enable_rosout=False, start_parameter_services=False)
    counted = send(node, spec) if role == "send" else receive(node, spec)
    print(json.dumps(counted), flush=True)
    node.destroy_node()
    _leave(0)


if __name__ == "__main__":
    main()
