#!/bin/sh
echo "$GREETING"
cat /facts/all
