"""The Ansible role, run against booted hosts as an operator runs it: by ``ansible-playbook`` over SSH.

``.ci/ansible`` installs what that takes, once into the cache: Ansible with its linter, and wheels of everything that
imagesync depends on, because hosts have no network.
"""
