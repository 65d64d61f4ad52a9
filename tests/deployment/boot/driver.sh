#!/bin/bash
# What an operator does with the unit, inside the booted systemd. Each step writes what it found into /opt/test/found.
cd /opt/test
found() { mkdir -p found; "${@:2}" >"found/$1" 2>&1; echo $? >"found/$1.code"; }
log() { for _ in {1..300}; do grep -q "\"event\": \"$2\"" "$1" 2>/dev/null && break; sleep 0.1; done; }
server=/opt/secagg/bin/secagg-server

useradd --system flserver
chmod 600 people/*/key.pem && chown -R flserver people
ln -s /opt/checkout/deploy deploy
found start bash -eux install.sh
found journal journalctl --no-pager
found active systemctl show secagg-server -p ActiveState,SubState,Result,NRestarts,LimitNOFILE,NotifyAccess
found user ps -o user:20,group:20,args --no-headers -p "$(systemctl show secagg-server -p MainPID --value)"
found status cat "/proc/$(systemctl show secagg-server -p MainPID --value)/status"
found folders stat -c '%A %U %G %n' /run/secagg /run/secagg/control.sock /var/lib/secagg /var/lib/secagg/ledger
found fl-server setpriv --reuid flserver --regid flserver --init-groups $server health --control unix:/run/secagg/control.sock
found stranger setpriv --reuid nobody --regid nogroup --clear-groups $server health --control unix:/run/secagg/control.sock
found key setpriv --reuid flserver --regid flserver --init-groups cat /etc/secagg/key.pem
found round setpriv --reuid flserver --regid flserver --init-groups timeout 30 /opt/secagg/bin/python round.py

found reload systemctl reload secagg-server
log server.log credentials_renewed
stat -c %i /run/secagg >before
kill -ABRT "$(systemctl show secagg-server -p MainPID --value)"
for _ in {1..300}; do [ "$(systemctl show secagg-server -p NRestarts --value)" = 0 ] || break; sleep 0.1; done
found last-words grep "Fatal Python error: Aborted" server.log
found again systemctl start secagg-server
found again-active systemctl show secagg-server -p ActiveState,NRestarts
found again-health $server health --control unix:/run/secagg/control.sock
found restart systemctl restart secagg-server
found same-folder test "$(stat -c %i /run/secagg)" = "$(cat before)"
found stop systemctl stop secagg-server
found stopped systemctl show secagg-server -p ActiveState,Result,ExecMainStatus
found socket-gone test ! -e /run/secagg/control.sock
rm -r /run/secagg && systemd-tmpfiles --create --remove --boot --exclude-prefix=/dev # as at each boot
found after-boot stat -c '%A %U %G %n' /run/secagg
found enabled systemctl is-enabled secagg-server

chgrp secagg /etc/secagg/key.pem && chown root /etc/secagg/key.pem && chmod 640 /etc/secagg/key.pem
found roots-key systemctl start secagg-server
systemctl stop secagg-server
chmod 644 /etc/secagg/key.pem
found open-key systemctl start secagg-server
systemctl stop secagg-server; systemctl reset-failed secagg-server
touch found/done
