# What a Vagrantfile asks for with one provider, as JSON: ruby vagrantfile.rb FILE PROVIDER. Vagrant is not needed.
#
# Each guest: its settings (those of all, then its own, then what the provider overrides), networks, folders, provisioners,
# triggers, and what the provider is told.

require "fileutils" # as in Vagrant
require "json"

# Keeps `name = value`, and what each method was called with.
class Settings
  attr_reader :kept

  def initialize
    @kept = {}
  end

  def method_missing(name, *given)
    return kept[name.to_s.chomp("=")] = given.first if name.end_with?("=")
    return kept[name.to_s] if given.empty?

    (kept[name.to_s] ||= []) << given
  end

  def respond_to_missing?(name, *)
    !name.start_with?("to_")
  end
end

# `config.vm`. Of two networks or folders that are the same one, the later adds to the first.
class Machine < Settings
  attr_reader :guests, :folders, :provisioners

  def initialize(provider)
    super()
    @provider, @guests, @overrides = provider, {}, []
    @networks, @folders, @provisioners = {}, {}, {}
  end

  def define(name, **, &block) = guests[name] = block

  def synced_folder(host, guest, **options)
    (folders[guest] ||= {}).update(options, host: host)
  end

  def network(kind, id: nil, **options)
    (@networks[[kind, id || options]] ||= {}).update(options, kind: kind, id: id)
  end

  def networks = @networks.values

  def provision(name, **options)
    (provisioners[name] ||= {}).update(options)
  end

  def provider(name, &block)
    @overrides << block if name.to_s == @provider
  end

  # What the provider is told, once it is known what it overrides.
  def override(config)
    @overrides.each_with_object(Settings.new) { |block, told| block.call(told, config) }.kept
  end
end

class Trigger
  attr_reader :after_commands

  def initialize
    @after_commands = []
  end

  def after(*commands)
    yield settings = Settings.new
    after_commands << { after: commands, **settings.kept }
  end
end

class Config
  attr_reader :vm, :trigger

  def initialize(provider)
    @vm, @trigger = Machine.new(provider), Trigger.new
  end
end

module Vagrant
  CONFIGURE = []

  def self.configure(version, &block)
    raise "version #{version} of the configuration" unless version == "2"

    CONFIGURE << block
  end
end

def configured(provider)
  Config.new(provider).tap { |config| Vagrant::CONFIGURE.each { |block| block.call(config) } }
end

def guest(name, provider)
  config = configured(provider)
  config.vm.guests[name].call(config)
  told = config.vm.override(config)
  vm = config.vm
  { vm: vm.kept, networks: vm.networks, folders: vm.folders, provisioners: vm.provisioners,
    triggers: config.trigger.after_commands, provider: told }
end

file, provider = ARGV
load File.expand_path(file)
puts JSON.pretty_generate(configured(provider).vm.guests.keys.to_h { |name| [name, guest(name, provider)] })
