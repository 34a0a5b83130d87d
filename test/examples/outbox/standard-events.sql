-- Adds the four standard events to the table event_outbox, in the transaction of the change that
-- they tell of, whoever makes it: a route, a plugin, a cascade, or somebody with psql.
--
-- Run it once Better Auth's tables exist, as a role that may create tables and functions in public
-- and owns "member" and "user" (or has the privilege TRIGGER on them). Running it again does no harm.
-- If your tables or columns have other names, change them here.
--
-- The application's role needs no privilege on event_outbox, unless it adds events of its own:
--   grant insert on public.event_outbox to application;
-- The relay's role:
--   grant select, update, delete on public.event_outbox to relay;
--
-- It does not see: truncate, triggers that are disabled, session_replication_role = replica.
--
-- To remove it, in this order, for changes fail once the table is gone but the triggers are not:
--   drop function public.event_outbox_member, public.event_outbox_user cascade;
--   drop table public.event_outbox;
--   drop function public.event_outbox_notify;

create table if not exists public.event_outbox (
  id bigint generated always as identity primary key,
  event text not null,
  payload jsonb not null,
  created_at timestamptz not null default now()
);

-- Wakes the relay at the commit; PostgreSQL sends one notification for all of a transaction's.
create or replace function public.event_outbox_notify() returns trigger
language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  perform pg_notify('event_outbox', '');
  return null;
end;
$$;

-- A membership that is given to another user or organization is a removal and an addition.
create or replace function public.event_outbox_member() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  stayed boolean := tg_op = 'UPDATE'
    and old."organizationId" = new."organizationId" and old."userId" = new."userId";
begin
  if stayed and old.role = new.role then
    return null;
  end if;
  if tg_op = 'DELETE' or (tg_op = 'UPDATE' and not stayed) then
    insert into public.event_outbox (event, payload)
    values ('organization.member.removed', jsonb_build_object(
      'organizationId', old."organizationId"::text,
      'userId', old."userId"::text,
      'role', old.role,
      'action', 'removed'
    ));
  end if;
  if tg_op <> 'DELETE' then
    insert into public.event_outbox (event, payload)
    values (
      case when stayed then 'organization.member.updated' else 'organization.member.added' end,
      jsonb_build_object(
        'organizationId', new."organizationId"::text,
        'userId', new."userId"::text,
        'role', new.role,
        'action', case when stayed then 'updated' else 'added' end
      )
    );
  end if;
  return null;
end;
$$;

create or replace function public.event_outbox_user() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
  insert into public.event_outbox (event, payload)
  values ('user.deleted', jsonb_build_object('userId', old.id::text, 'action', 'deleted'));
  return null;
end;
$$;

-- Or a role that may create a table of its own could attach them to it, and add false events.
revoke execute on function public.event_outbox_member, public.event_outbox_user from public;

-- Only those that are missing, so that running this again locks no table.
do $$
begin
  -- Deferred to the commit, for the memberships of a user may be deleted after the user.
  if not exists (
    select from pg_trigger where tgrelid = 'public."user"'::regclass and tgname = 'event_outbox_user'
  ) then
    create constraint trigger event_outbox_user
    after delete on public."user" deferrable initially deferred
    for each row execute function public.event_outbox_user();
  end if;

  if not exists (
    select from pg_trigger where tgrelid = 'public.member'::regclass and tgname = 'event_outbox_member'
  ) then
    create trigger event_outbox_member
    after insert or update or delete on public.member
    for each row execute function public.event_outbox_member();
  end if;

  if not exists (
    select from pg_trigger where tgrelid = 'public.event_outbox'::regclass and tgname = 'event_outbox_notify'
  ) then
    create trigger event_outbox_notify
    after insert on public.event_outbox
    for each statement execute function public.event_outbox_notify();
  end if;
end;
$$;
