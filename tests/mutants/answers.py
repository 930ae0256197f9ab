"""The guards of an answer: what it says, and what is kept of one that was cut."""

from __future__ import annotations

from tests.mutants.guard import Guard

GUARDS = (
    Guard(
        "form answer: one is whole only where its headers say where it ends",
        "adapters/akoya.py::AkoyaTokenEndpoint._send",
        "raw.chunked or raw.length_remaining is not None",
        "True",
    ),
    Guard(
        "escrow: what a later version adds to a set is left out",
        "adapters/escrow.py::_from_bytes",
        "{one.name: kept[one.name] for one in fields(Landing) if one.name in kept}",
        "kept",
    ),
    Guard(
        "id_token: a sub that is no text stops no landing",
        "adapters/id_token.py::_text",
        "value.encode()",
        "pass",
    ),
    Guard(
        "id_token: an account that is no text stops no landing",
        "adapters/id_token.py::_is_name",
        "isinstance(value, str) and bool(value) and value.isprintable()",
        "isinstance(value, str) and bool(value)",
    ),
    Guard(
        "truncated: a count of refusals that was cut is no count",
        "adapters/dynamodb.py::DynamoRows.update",
        "member(answer, 'Attributes', of=SERVICE)",
        "answer['Attributes']",
    ),
    Guard(
        "truncated: a listing of escrow that was cut is not an empty one",
        "adapters/escrow.py::S3Escrow._list",
        "member(page, 'KeyCount', of=SERVICE)",
        "page.get('Contents')",
    ),
    Guard(
        "code binding: a new link needs the nonce",
        "use_cases/code_binding.py::is_bound",
        "return False",
        "return True",
    ),
    Guard(
        "code binding: PKCE that was not sent binds nothing",
        "use_cases/code_binding.py::is_bound",
        "opening.sent_pkce",
        "True",
    ),
    Guard(
        "code binding: a foreign nonce is refused",
        "use_cases/code_binding.py::is_foreign",
        "_nonce_in(broker, tokens) not in (None, authorization.nonce(cookie))",
        "_nonce_in(broker, tokens) is cookie",
    ),
    Guard(
        "code binding: a set that is not to be used never becomes a connection",
        "use_cases/landing.py::status_after",
        "landing.verdict is Verdict.BAD",
        "landing.generation < 0",
    ),
    Guard(
        "requests: an id is checked before the table is asked",
        "runtime/http_api.py::id_in",
        "CONNECTION_ID.fullmatch(found)",
        "CONNECTION_ID",
    ),
    Guard(
        "requests: text that no table takes is refused",
        "runtime/http_api.py::_ensure_printable",
        "len(text) > LONGEST_PARAMETER or not text.isprintable()",
        "len(text) < 0",
    ),
    Guard(
        "keys come over the same scheme as what announced them",
        "adapters/signing_keys.py::SigningKeys._look_up_after",
        "urlsplit(jwks_uri)[:2] != urlsplit(self._discovery_url)[:2]",
        "urlsplit(jwks_uri)[1] != urlsplit(self._discovery_url)[1]",
    ),
    Guard(
        "id_token: not before its time",
        "adapters/id_token.py::OpenIdTokens._fault_of",
        "'nbf' in payload",
        "'nbf' in ()",
    ),
    Guard(
        "cut answer: what its end cost is no answer",
        "adapters/akoya.py::_read",
        "Outcome.TIMEOUT if deadline.expired else None",
        "None",
    ),
    Guard(
        "cut answer: what had come of it is kept",
        "adapters/akoya.py::_success",
        "whole_members(wire.body)",
        "{}",
    ),
    Guard(
        "cut answer: one that does not say where it ends is read, too",
        "adapters/akoya.py::_success",
        "content is None",
        "content is None and wire.cut",
    ),
    Guard(
        "cut answer: a refresh token that did not come is not the old one",
        "adapters/akoya.py::_success",
        "_secret(content, 'refresh_token') is None",
        "not content",
    ),
    Guard(
        "cut answer: top-level members alone",
        "adapters/cut_answer.py::whole_members",
        "members[name] = value",
        "members |= {name: value} | (value if isinstance(value, dict) else {})",
    ),
    Guard(
        "cut answer: a value is read to its end",
        "adapters/cut_answer.py::whole_members",
        "text[at:at + 1] in (',', '}') or (closes_itself and (not text[at:]))",
        "closes_itself or True",
    ),
    Guard(
        "form answer: one that may have been cut is none",
        "adapters/akoya.py::_whole_form",
        "wire.cut or not wire.is_measured or not _FORM.fullmatch(wire.body.rstrip())",
        "not _FORM.fullmatch(wire.body)",
    ),
    Guard(
        "form answer: one that says a thing twice is none",
        "adapters/akoya.py::_whole_form",
        "len(content) == len(pairs)",
        "True",
    ),
    Guard(
        "cut answer: the living bearer stays",
        "use_cases/refresh.py::_landed",
        "is_bearer_kept=is_kept",
        "is_bearer_kept=False",
    ),
    Guard(
        "cut answer: a rejected bearer does not stay",
        "use_cases/refresh.py::_landed",
        "leased.remaining(broker.clock()) > 0 and leased.rejected != leased.generation",
        "leased.remaining(broker.clock()) > 0",
    ),
    Guard(
        "revoke: a refusal is no proof",
        "domain/outcome.py::REACTIONS",
        "(Outcome.GRANT_DEAD, _REVOKE): Reaction.SUSPECT",
        "(Outcome.GRANT_DEAD, _REVOKE): Reaction.ERASE",
    ),
    Guard(
        "revoke: without proof a set is kept for the quarantine",
        "use_cases/revoke.py::_is_over",
        "broker.clock() >= since + quarantine and leased.failures >= len(LOOKS_AFTER)",
        "leased.failures >= len(LOOKS_AFTER)",
    ),
    Guard(
        "revoke: a set is not given up over a look or two",
        "use_cases/revoke.py::_is_over",
        "broker.clock() >= since + quarantine and leased.failures >= len(LOOKS_AFTER)",
        "broker.clock() >= since + quarantine",
    ),
    Guard(
        "revoke: a page is not Akoya's word", "adapters/akoya.py::_revoked", "not wire.body", "True"
    ),
    Guard(
        "revoke: an error is not done",
        "adapters/akoya.py::_revoked",
        "'error' not in content",
        "True",
    ),
)
