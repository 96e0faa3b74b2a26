class SettingsError(Exception):
    """Settings that can't be deployed; the message names the setting, its value and what is
    allowed.
    """
