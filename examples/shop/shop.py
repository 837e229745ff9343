# shop.py
import os
from typing import Any

from app import app
from fastapi import HTTPException, Request
from standardwebhooks import Webhook, WebhookVerificationError

from cecochat.client.backend import Backend

backend = Backend("http://127.0.0.1:8080", os.environ["SERVICE_TOKEN"])
webhook = Webhook(os.environ["HOOK_SECRET"])
phones: dict[str, str] = {}  # what each customer's phone shows


@app.post("/hooks")
async def hooks(request: Request) -> None:
    """Take what the chat tells. After anything but 2xx it comes again."""
    try:
        event = webhook.verify(await request.body(), dict(request.headers))
    except WebhookVerificationError:
        raise HTTPException(401, "not signed by our chat") from None
    if event["type"] == "message.created" and "shop" in event["data"].get("recipientIds", []):
        await answer(event["data"])
    elif event["type"] == "user.unread":
        wake(event["data"])


async def answer(message: dict[str, Any]) -> None:
    """Answer a customer. The same webhook may come twice: the key makes it one answer."""
    text = f"Thank you! We have your order: {message['message']['text']}"
    await backend.send("shop", message["userId"], text, key=f"order-{message['id']}")


def wake(waiting: dict[str, Any]) -> None:
    """Notify a customer who is away. A push service would be called here."""
    phones[waiting["userId"]] = f"{waiting['unreadCount']} new from {waiting['senderId']}"


@app.get("/phones/{customer}")
async def phone(customer: str) -> str:
    """Look at a customer's phone."""
    return phones.get(customer, "nothing new")


@app.post("/orders/{number}/sent")
async def sent(number: int, customer: str) -> str:
    """Tell a customer that an order is on its way, once, however often this is called."""
    text = f"Order {number} is on its way"
    return str(await backend.send("shop", customer, text, key=f"order-{number}-sent"))
