#!/bin/sh
# Run once by PostgreSQL's image, when its folder is empty: a role and a database each for bridge and Airflow.
set -eu

for name in kfbridge airflow; do
  psql --set ON_ERROR_STOP=1 --set name="$name" --set password="$(cat "/run/kfbridge/$name-password")" \
    --username postgres --dbname postgres <<'SQL'
CREATE ROLE :"name" LOGIN PASSWORD :'password';
CREATE DATABASE :"name" OWNER :"name";
SQL
done
