"""Where secrets come from: environment variables, mounted files, the OS keyring, an encrypted file in git.

Receives: secret names.  Hands on: their values, from the first provider that has them.  Never: shows, logs or caches a value.
"""

from accord.settings.secrets.keyring_store import KeyringSecrets
from accord.settings.secrets.keys import Key, KeyFile, load_keys
from accord.settings.secrets.mounted import MountedSecrets
from accord.settings.secrets.provider import ProviderChain, SecretProvider, WritableProvider
from accord.settings.secrets.sealed_file import SealedFile
from accord.settings.secrets.variables import VariableSecrets

__all__ = [
    "Key",
    "KeyFile",
    "KeyringSecrets",
    "MountedSecrets",
    "ProviderChain",
    "SealedFile",
    "SecretProvider",
    "VariableSecrets",
    "WritableProvider",
    "load_keys",
]
