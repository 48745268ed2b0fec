"""The OpenAI protocol over HTTP, thin over the Runner; `app.py` puts it together."""
