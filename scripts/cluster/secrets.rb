# Draws the secrets of a cluster with SECURE=1, once, on the host. The Vagrantfile gives each guest those that it needs.
# It is in Ruby, which comes with Vagrant. To see what each guest is given: ruby scripts/cluster/secrets.rb FOLDER NAME=ADDRESS ...

require "fileutils"
require "json"
require "openssl"
require "securerandom"

class Secrets
  TOKENS = %w[agent cecochat nomad prometheus].freeze # beside the one that makes these
  NAMES = %w[server.dc1.consul server.global.nomad client.global.nomad localhost].freeze # of every guest
  HOST = "host" # the certificate for this machine
  YEARS = 10 # so that a test cluster does not end by itself
  CURVE = "prime256v1"

  # guests: name => address
  def initialize(folder, guests)
    @folder, @guests = folder, guests
    FileUtils.mkdir_p(folder)
    File.chmod(0o700, folder)
    @ca_key = key("ca-key.pem")
    @ca = authority
    guests.each { |name, address| certify(name, NAMES + [name], ["127.0.0.1", address]) }
    certify(HOST, [HOST], [])
    management
    TOKENS.each { |name| token(name) }
    gossip("consul")
    gossip("nomad")
  end

  # What a guest is given, as JSON in base64. Only the guest that makes the ACL gets the token that may do everything.
  def of(name, makes_acl)
    [JSON.generate(given(name, makes_acl))].pack("m0")
  end

  private

  def given(name, makes_acl)
    {
      ca: read("ca.pem"), certificate: read("#{name}.pem"), key: read("#{name}-key.pem"),
      gossip: { consul: gossip("consul"), nomad: gossip("nomad") },
      tokens: TOKENS.to_h { |each| [each, token(each)] }, management: makes_acl ? management : nil
    }
  end

  def management
    token("management")
  end

  def token(name)
    drawn("token-#{name}") { SecureRandom.uuid }
  end

  def gossip(name)
    drawn("gossip-#{name}") { SecureRandom.base64(32) }
  end

  def key(name)
    OpenSSL::PKey.read(drawn(name) { OpenSSL::PKey::EC.generate(CURVE).to_pem })
  end

  def read(name)
    File.read(File.join(@folder, name))
  end

  def drawn(name)
    file = File.join(@folder, name)
    write(name, yield) unless File.exist?(file)
    File.read(file)
  end

  def write(name, text)
    new = File.join(@folder, ".#{name}.new")
    File.write(new, text, perm: 0o600)
    File.rename(new, File.join(@folder, name))
  end

  def authority
    pem = drawn("ca.pem") do
      name = OpenSSL::X509::Name.new([["CN", "CecoChat test cluster #{SecureRandom.hex(4)}"]])
      made = certificate(name, @ca_key)
      made.issuer = name
      signed(made, made, "basicConstraints" => "critical,CA:TRUE", "keyUsage" => "critical,keyCertSign").to_pem
    end
    OpenSSL::X509::Certificate.new(pem)
  end

  def certify(name, dns, ips)
    own = key("#{name}-key.pem")
    names = (dns.map { |each| "DNS:#{each}" } + ips.map { |each| "IP:#{each}" }).join(",")
    drawn("#{name}.pem") { certified(name, own, names) }
  end

  def certified(name, own, names)
    made = certificate(OpenSSL::X509::Name.new([["CN", name]]), own)
    made.issuer = @ca.subject
    signed(made, @ca, "basicConstraints" => "critical,CA:FALSE", "keyUsage" => "critical,digitalSignature",
      "extendedKeyUsage" => "serverAuth,clientAuth", "subjectAltName" => names).to_pem
  end

  def certificate(name, own)
    OpenSSL::X509::Certificate.new.tap do |made|
      made.version = 2 # the third
      made.serial = OpenSSL::BN.rand(120)
      made.subject = name
      made.public_key = own
      made.not_before = Time.now - 86_400 # clocks of guests differ
      made.not_after = Time.now + YEARS * 365 * 86_400
    end
  end

  def signed(made, issuer, extensions)
    factory = OpenSSL::X509::ExtensionFactory.new
    factory.subject_certificate, factory.issuer_certificate = made, issuer
    extensions = { **extensions, "subjectKeyIdentifier" => "hash", "authorityKeyIdentifier" => "keyid:always" }
    extensions.each { |oid, value| made.add_extension(factory.create_ext_from_string("#{oid}=#{value}")) }
    made.sign(@ca_key, "SHA256")
  end
end

if $PROGRAM_NAME == __FILE__
  folder, *guests = ARGV
  guests = guests.to_h { |each| each.split("=", 2) }
  secrets = Secrets.new(folder, guests)
  guests.each_key { |name| puts "#{name} #{secrets.of(name, name == guests.keys.last)}" }
end
