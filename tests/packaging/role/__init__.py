"""The Ansible role, run against booted hosts as an operator runs it: by ``ansible-playbook`` over SSH.

``.ci/ansible`` installs Ansible with its linter, once into the cache. Hosts have no network: imagesync and its libraries
come from the wheels of ``.ci/wheels``, which packages and containers are made of, too.
"""
