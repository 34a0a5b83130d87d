-- @kernia/events 1.0.0: copied from its test/examples/outbox/standard-events.sql
-- Needs PostgreSQL 14 or newer, and the tables that Better Auth makes for Kysely, Prisma or Drizzle.
--
-- Adds the four standard events to the table event_outbox.event, in the transaction of the change,
-- whoever makes it: a route, a plugin, a cascade, or somebody with psql. Not covered: truncate, triggers
-- that are disabled, session_replication_role = replica.
--
-- It installs everything or nothing, and can be run again, also from several places at once. Tools that
-- manage schemas must leave this one and pg-boss's alone: drizzle-kit 1.0 needs schemaFilter: ["public"].
--
-- Rights of three roles, none of them a superuser. Whoever runs this owns "member" and "user", and needs
-- the first line, for the first run only. The application needs nothing, unless it calls `publish`:
--   grant create on database app to owner;
--   grant usage on schema event_outbox to application;
--   grant insert (name, payload) on event_outbox.event to application;
-- The worker, whose first start creates pg-boss's schema, needs the last line for that start only:
--   grant usage on schema event_outbox to worker;
--   grant select, delete, update (position) on event_outbox.event to worker;
--   grant create on database app to worker;
-- To remove it, and the events that no worker has moved yet; again if it gives up waiting for others:
--   set lock_timeout = '500ms'; drop schema event_outbox cascade;

do $install$
declare
  -- If your tables have other names, change them here; names of columns also in the first function.
  users text := 'public."user"';
  members text := 'public.member';
  relation text;
  names text[];
  first boolean;
  others text;
  statement text;
  timeout text := current_setting('lock_timeout');
begin
  for relation, names in values (users, '{id}'::text[]), (members, '{role}'),
    (members, '{organizationId,organization_id}'), (members, '{userId,user_id}')
  loop
    continue when exists (
      select from pg_attribute where attrelid = to_regclass(relation) and attname = any(names)
    );
    raise 'there is no table % with a column %', relation, array_to_string(names, ' or ')
    using hint = 'Nothing was installed. If yours have other names, change them in standard-events.sql.';
  end loop;

  -- One installation at a time.
  perform pg_advisory_xact_lock(hashtext('event_outbox'));
  first := to_regnamespace('event_outbox') is null;
  if first then
    create schema event_outbox create table event (
      position bigint generated always as identity primary key,
      id uuid not null default gen_random_uuid(),
      name text not null,
      payload jsonb not null,
      created_at timestamptz not null default now()
    );
  end if;
  -- Fails if somebody else has a schema of that name.
  perform position, id, name, payload, created_at from event_outbox.event limit 0;

  -- A membership that moves to another user or organization is a removal and an addition.
  create or replace function event_outbox.member_changed() returns trigger
  language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
  declare
    -- As JSON, in which a column that does not exist is null, and not an error.
    versions jsonb[] := array[to_jsonb(old), to_jsonb(new)];
  begin
    for i in 1..2 loop
      versions[i] := jsonb_build_object(
        'organizationId', coalesce(versions[i] ->> 'organizationId', versions[i] ->> 'organization_id'),
        'userId', coalesce(versions[i] ->> 'userId', versions[i] ->> 'user_id'),
        'role', coalesce(versions[i] ->> 'role', '')
      );
    end loop;
    if versions[1] = versions[2] then
      return null;
    end if;
    insert into event_outbox.event (name, payload)
    select 'organization.member.' || action, payload || jsonb_build_object('action', action)
    from (values
      (1, 'removed', versions[1], false), (2, 'added', versions[2], false), (3, 'updated', versions[2], true)
    ) as events (number, action, payload, stayed)
    where stayed = (versions[1] - 'role' = versions[2] - 'role')
      and payload ->> 'organizationId' is not null and payload ->> 'userId' is not null
    order by number;
    if not found then
      raise warning '% has other columns now: run standard-events.sql again', tg_relid::regclass;
    end if;
    return null;
  end;
  $$;

  -- Runs at the commit. By then there may be a user with the same id again.
  create or replace function event_outbox.user_deleted() returns trigger
  language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
  begin
    execute format($query$
      insert into event_outbox.event (name, payload)
      select 'user.deleted', jsonb_build_object('userId', $1::text, 'action', 'deleted')
      where not exists (select from %s where id = $1)
    $query$, tg_relid::regclass) using old.id;
    return null;
  end;
  $$;

  if first then
    -- PostgreSQL, and "alter default privileges", may have let others add false events.
    select string_agg(quote_ident(rolname), ', ') into others from pg_roles where rolname <> current_user;
    execute format('revoke all on schema event_outbox from public, %1$s;
      revoke all on all tables in schema event_outbox from public, %1$s;
      revoke all on all sequences in schema event_outbox from public, %1$s;
      revoke all on all functions in schema event_outbox from public, %1$s', others);
  end if;

  -- Gives up before PostgreSQL looks for a deadlock, so that no other transaction is aborted.
  perform set_config('lock_timeout', '200ms', true);
  loop
    begin
      for relation, statement in values
        -- Deferred to the commit, for the memberships of a user may be deleted after the user.
        (users, 'create constraint trigger event_outbox after delete on %s deferrable initially deferred
          for each row execute function event_outbox.user_deleted()'),
        (members, 'create trigger event_outbox after insert or update or delete on %s
          for each row execute function event_outbox.member_changed()')
      loop
        continue when exists (
          select from pg_trigger where tgrelid = relation::regclass and tgname = 'event_outbox'
        );
        execute format(statement, relation);
      end loop;
      exit;
    exception when lock_not_available then
      perform pg_sleep(0.2);
    end;
  end loop;
  perform set_config('lock_timeout', timeout, true);
end;
$install$;
