# app.py
import secrets
import time
from pathlib import Path
from typing import Annotated

import jwt  # PyJWT
from fastapi import Body, Cookie, FastAPI, HTTPException, Response
from fastapi.responses import FileResponse

SECRET = Path("~/.local/share/cecochat/default/token-secret").expanduser().read_text()

app = FastAPI()
sessions: dict[str, str] = {}  # the cookie of a browser -> who is logged in there


@app.post("/login")
def login(user: Annotated[str, Body(embed=True)], response: Response) -> None:
    """Log somebody in. Yours asks for a password; this one believes whatever it is told."""
    session = secrets.token_urlsafe()
    sessions[session] = user
    response.set_cookie("session", session, httponly=True, samesite="strict")


@app.post("/chat-token")
def chat_token(session: Annotated[str, Cookie()] = "") -> str:
    """Return a token for whoever is logged in. The page asks again before it ends."""
    if session not in sessions:
        raise HTTPException(401, "log in first")
    claims = {"sub": sessions[session], "aud": "cecochat", "exp": time.time() + 900}
    return jwt.encode(claims, SECRET, algorithm="HS256")


@app.get("/")
def page() -> FileResponse:
    return FileResponse("page.html")


@app.get("/cecochat.js")
def client() -> FileResponse:
    return FileResponse("node_modules/@cecochat/client/dist/cecochat.js")
