"""Who a caller is: an API key or a JSON web token against those that the settings let in."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from time import monotonic

from streams.api.keys import KEY_PREFIX, Keys
from streams.api.scopes import EVERYBODY, CredentialsRefused, Principal
from streams.api.tokens import tokens_of
from streams.base.addresses import stays_here
from streams.base.errors import ConfigurationError
from streams.settings.service import ApiSettings


class Access:
    """Lets callers in. Without keys and tokens everybody may do everything, which only loopback allows.

    `on_file` is told by setting whether each file of keys is whole, at the start and at each change. With `wait` one
    that is not whole at the start lets nobody in until it is, as later on; else it is a ConfigurationError.
    """

    def __init__(
        self, api: ApiSettings, on_file: Callable[[str, bool], None] = lambda setting, usable: None,
        clock: Callable[[], float] = monotonic, *, wait: bool = False,
    ) -> None:  # fmt: skip
        fixed = api.keys.get_secret_value() if api.keys else ""
        self._keys = Keys(fixed, api.keys_file, clock, partial(on_file, "api.keys_file"), wait=wait)
        self._tokens = tokens_of(api, on_file, clock, wait=wait)
        self.required = bool(len(self._keys) or api.keys_file or self._tokens)
        if not self.required and not stays_here(api.host):
            raise ConfigurationError(
                f"api.host {api.host} may be reached from elsewhere, so callers must prove who they are: set "
                "api.keys_file (`interests api key NAME` makes a key) or a token's key, or listen on 127.0.0.1"
            )

    @property
    def keys_usable(self) -> bool:
        """Whether the files of keys are whole; true where there are none."""
        return self._keys.usable and (self._tokens is None or self._tokens.usable)

    @property
    def lets_in(self) -> bool:
        """Whether anybody can be let in now; false where all keys are in files that are not whole."""
        return not self.required or self._keys.lets_in or (self._tokens is not None and self._tokens.usable)

    def principal(self, authorization: str | None, api_key: str | None) -> Principal:
        """The caller, by the headers `Authorization: Bearer` and `X-API-Key`. Raises CredentialsRefused."""
        if not self.required:
            return EVERYBODY
        scheme, _, rest = (authorization or "").partition(" ")
        given = api_key or (rest.strip() if scheme.lower() == "bearer" else "")
        if not given:
            raise CredentialsRefused("no key and no token was given")
        if self._tokens is not None and given.count(".") == 2 and not given.startswith(KEY_PREFIX):
            return self._tokens.principal(given)
        key = self._keys.find(given)
        if key is None:
            raise CredentialsRefused("the key is not known")
        return Principal(key.name, key.scopes)
