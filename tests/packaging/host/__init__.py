"""A Debian booted with systemd as PID 1, without a way out into a network, for tests of what is installed on a host.

In a test::

    def test_it(make_host):                              # tests/packaging/conftest.py
        host = make_host("site")                         # booted; gone at the end, however that comes
        host.copy(wheel, "/srv/wheels")                  # a file or a directory
        host.write("/etc/site.yaml", "a: 1\\n", mode=0o600)
        host.run("apt-get", "install", "-y", "/srv/x.deb")      # raises with all output unless it ends with 0
        assert host.ask("systemctl", "is-active", "x") == "active"
        host.reboot()                                    # the same tree once more; power_cut() is the rude form

Every host is a layer over one base tree, so it is made in milliseconds and booted in half a second. The base is built
once by ``.ci/host`` into the cache, from the release and the package sources of this machine; what hosts shall have
before anything is installed stands in ``host.base.PACKAGES``.

From outside a host answers at ``host.address`` over a cable of its own that leads nowhere else; ``host.authorize`` lets
an SSH key in. A program of this machine runs in its network with ``host.inside_network(command)``: a list server there
is on the loopback interface of the host.

By hand: ``PYTHONPATH=tests/live:tests/packaging .venv/bin/python -m host run`` boots one, prints how to get in, and
ends it at Ctrl-C.
"""
