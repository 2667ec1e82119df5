"""Audio that lines name by URL: fetched or decoded, and made into the form that model servers take.

    audio     a line's body becomes a form, or it is said why not
    fetch     one file over HTTP, from hosts that the operator named
    form      the bytes of a form (multipart/form-data)
    silence   what canaries send

A fetch is no request to a backend: what goes wrong with it concerns no circuit. Uses no other room.
"""
